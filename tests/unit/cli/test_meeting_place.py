"""Where the planes of `pdp serve` meet when the data dir's name is too long for a socket."""

from pathlib import Path

import pytest

from pdp.cli.serve import Planes, _meeting_place
from pdp.serve.transport import clear_socket
from pdp.settings import load_settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / ("long-" * 20)
    monkeypatch.setenv("PDP_DATA_DIR", str(found))
    monkeypatch.setenv("PDP_CONTROL_LISTEN", "")
    monkeypatch.delenv("PDP_CONTROL_LISTEN")
    return found


def test_they_meet_in_a_folder_of_their_own_while_they_run(folder: Path) -> None:
    with _meeting_place(load_settings(), Planes.ALL):
        place = Path(load_settings().control_address.removeprefix("unix:"))
        assert place.parent.stat().st_mode & 0o777 == 0o700
        clear_socket(place, "none is too long")
    assert not place.parent.exists()


def test_a_place_that_is_said_or_short_enough_or_of_others_too_is_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _meeting_place(load_settings(), Planes.CONTROL):
        assert load_settings().control_address == f"unix:{folder}/control.sock"
    monkeypatch.setenv("PDP_CONTROL_LISTEN", "127.0.0.1:9300")
    with _meeting_place(load_settings(), Planes.ALL):
        assert load_settings().control_address == "127.0.0.1:9300"
    monkeypatch.delenv("PDP_CONTROL_LISTEN")
    monkeypatch.setenv("PDP_DATA_DIR", "/short")
    with _meeting_place(load_settings(), Planes.ALL):
        assert load_settings().control_address == "unix:/short/control.sock"
