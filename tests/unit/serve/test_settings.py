"""What a wrong setting, address or folder is answered: which it is, and what to do."""

import errno
import os
from pathlib import Path

import pytest

from pdp.datadir import make_data_dir
from pdp.errors import StartRefused, cannot_listen
from pdp.settings import load_settings


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORKERS", "two", "use a whole number"),
        ("WORKERS", "0", "use 1 or more"),
        ("WORKERS", "65", "use 64 or less"),
        ("MAX_STALENESS", "long", "use a number"),
        ("HOLD_TTL", "inf", "use a number"),
        ("NGINX_USAGE_TRUST_NETWORK", "perhaps", "use `true` or `false`"),
        ("UNREPORTED", "half", "use `full`, `input` or `zero`"),
        ("BUDGET_STATUS", "404", "use 403, 402 or 429"),
        ("CHECK_TLS_NAME", "", "is empty: unset it, or give it a value"),
        ("PRICES_FILE", "", "is empty: name a file, or unset it"),
        ("GRPC_LISTEN", "9191", "use `host:port` or `unix:/path`"),
    ],
)
def test_a_wrong_setting_says_what_to_use(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"PDP_{name}", value)
    with pytest.raises(StartRefused) as caught:
        load_settings()
    assert str(caught.value) == f"PDP_{name}: {words}"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EADDRINUSE, ": stop what listens there, or set another address"),
        (errno.EADDRNOTAVAIL, ": use an address of this machine"),
        (errno.EACCES, ": use a port above 1023, or a folder that may be written to"),
        (errno.ENOENT, ""),
    ],
)
def test_an_address_that_cannot_be_had_says_what_to_do(number: int, words: str) -> None:
    said = os.strerror(number)
    refusal = cannot_listen("PDP_GRPC_LISTEN", "h:1", OSError(number, said))
    assert str(refusal) == f"PDP_GRPC_LISTEN: cannot listen on `h:1`: {said.lower()}{words}"


def test_a_data_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.touch()
    with pytest.raises(StartRefused) as caught:
        make_data_dir(path)
    assert str(caught.value) == f"PDP_DATA_DIR: `{path}`: is no folder: name another one"
