"""The commands, run as `python -m pdp` runs them, in this process and a data dir of the test's."""

import io
import json
import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from msgspec import Struct

from pdp.cli import main

_LOOKS = ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


_get_command = cache(typer.main.get_command)
"""The tree of commands is the same for all, and takes a while to make."""


class Done(Struct, frozen=True):
    """What a command left behind."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Return what a command that succeeded has printed."""
        assert self.status == 0, self.err
        return json.loads(self.out)

    def refusal(self) -> str:
        """Return the one line of a command that refused."""
        (line,) = self.refusals()
        return line

    def refusals(self) -> list[str]:
        """Return the lines of a command that refused, one for each fault."""
        assert self.status != 0
        assert self.out == ""
        lines = self.err.splitlines()
        assert all(line.startswith("pdp: ") for line in lines)
        return lines


class Pdp:
    """Runs commands."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data_dir: Path
    ) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.data_dir = data_dir
        for name in os.environ:
            if name.startswith("PDP_") or name in _LOOKS:
                monkeypatch.delenv(name)
        self.setting("PDP_DATA_DIR", str(data_dir))

    def setting(self, name: str, value: str) -> None:
        """Set a variable of the environment."""
        self._monkeypatch.setenv(name, value)

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Done:
        """Run `pdp ARGUMENTS` to its end."""
        self._monkeypatch.setattr(sys, "argv", ["pdp", *arguments])
        self._monkeypatch.setattr("typer.main.get_command", _get_command)
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = 0
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        out, err = (_STYLE.sub("", text) for text in self._capsys.readouterr())
        assert "Traceback" not in out + err
        return Done(status, out, err)

    def create(self, **body: Any) -> dict[str, Any]:
        """Create a key from a REST create body."""
        made: dict[str, Any] = self(
            *("keys", "create", "--file", "-", "--json"), stdin=json.dumps(body).encode()
        ).json()
        return made


@pytest.fixture
def pdp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Pdp:
    """The commands, in an empty data dir."""
    return Pdp(monkeypatch, capsys, tmp_path / "data")


@pytest.fixture
def root(pdp: Pdp, template: Path) -> dict[str, str]:
    """An organization; what `pdp init` has printed. It is a copy of one that was made once."""
    told = template.with_suffix(".json")
    if not template.exists():
        told.write_text(pdp("init", "--json").out)
        shutil.copytree(pdp.data_dir, template)
    else:
        shutil.copytree(template, pdp.data_dir)
    made: dict[str, str] = json.loads(told.read_text())
    return made


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a data dir is kept to be copied."""
    return tmp_path_factory.mktemp("initialized") / "data"
