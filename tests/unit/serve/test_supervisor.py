"""Processes that are started again, and what is left of those before."""

import asyncio
import resource
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from pdp.errors import StartRefused
from pdp.serve.child import raised, take_files
from pdp.serve.supervisor import Child


def is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


async def test_where_no_process_can_be_made_another_is_tried_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begin = asyncio.create_subprocess_exec
    folders: list[Path] = []

    async def begin_at_last(*arguments: Any, env: dict[str, str], **options: Any) -> Any:
        folders.append(Path(env["TMPDIR"]))
        (folders[-1] / "fallback.sock").touch()  # As libraries leave it.
        if len(folders) == 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return await begin(*arguments, env=env, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begin_at_last)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("pdp.temporary._LONGEST", 1000)
    child = Child("data", {"PDP_WORKERS": "many"})
    with capture_logs() as log, pytest.raises(StartRefused, match="PDP_WORKERS: use a whole"):
        await asyncio.wait_for(child.run(asyncio.Event()), 30)
    (told,) = log
    assert told["event"] == "plane died, starting it again"
    assert "Resource temporarily unavailable" in told["reason"]
    assert [each.parent for each in folders] == [tmp_path] * 2
    assert is_empty(tmp_path)


def test_a_plane_may_open_more_files_than_is_usual() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, before[1]))
    try:
        take_files(1100)
        take_files(900)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1100, before[1])
        take_files(before[1] + 1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_where_files_have_no_bound_as_many_are_taken_as_are_wanted() -> None:
    endless = resource.RLIM_INFINITY
    assert raised(256, endless, 65_536) == 65_536
    assert raised(100_000, endless, 65_536) == 100_000
    assert raised(endless, endless, 65_536) == endless
