"""What random rotation does not hit: files that move while they are looked for."""

import os
import shutil
from pathlib import Path

import pytest

from adapters.nginx.usage import follower as module
from adapters.nginx.usage.follower import RETIRE, Follower
from adapters.nginx.usage.siblings import Sibling, siblings_of


def test_a_copy_that_is_renamed_while_it_is_found_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, copy = tmp_path / "usage.log", tmp_path / "usage.log.1"
    log.write_bytes(b"one\n")
    follower = Follower(log, None, lambda: 0.0)
    follower.begin()
    assert follower.read() == [b"one"]
    with log.open("ab") as file:
        file.write(b"two\n")
    shutil.copy2(log, copy)
    os.truncate(log, 0)

    def renaming(path: Path) -> list[Sibling]:
        found = siblings_of(path)
        if copy.exists():
            copy.rename(tmp_path / "usage.log.2")
        return found

    follower._look()  # The copy is there; what it is of is not yet known to be gone.
    monkeypatch.setattr(module, "siblings_of", renaming)
    lines = [line for _ in range(4) for line in follower.read()]
    assert lines == [b"two"]
    follower.close()


def test_a_folder_that_cannot_be_listed_is_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "usage.log"
    follower = Follower(log, None, lambda: 0.0)
    follower.begin()
    log.write_bytes(b"one\n")

    def failing(path: Path) -> list[Sibling]:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(module, "siblings_of", failing)
        with pytest.raises(OSError, match="Too many open files"):
            follower.read()
    assert follower.read() == [b"one"]
    follower.close()


def test_a_log_is_read_on_until_nginx_has_been_told_of_its_rotation(tmp_path: Path) -> None:
    log, now = tmp_path / "usage.log", 0.0
    log.write_bytes(b"one\n")
    follower = Follower(log, None, lambda: now)
    follower.begin()
    assert follower.read() == [b"one"]
    log.rename(tmp_path / "usage.log.1")
    log.touch()  # As logrotate does by `create`.
    for _ in range(3):
        assert follower.read() == []
        now += 2 * RETIRE
    with (tmp_path / "usage.log.1").open("ab") as old:
        old.write(b"two\n")
    assert follower.read() == [b"two"]
    log.write_bytes(b"three\n")
    assert follower.read() == [b"three"]
    for _ in range(3):
        assert follower.read() == []
        now += RETIRE
    places = {place.start: place.done for place in follower.places().files}
    assert places == {b"one\ntwo\n": True, b"three\n": False}
    follower.close()
