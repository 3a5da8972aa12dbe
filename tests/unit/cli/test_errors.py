"""What cannot be done is said on stderr, without a traceback, and the status is not 0."""

import errno
import os
import sqlite3
from contextlib import closing

import pytest

from pdp import __version__
from tests.unit.cli.conftest import Pdp

COMMANDS = (
    ("keys", "list"),
    ("keys", "create"),
    ("keys", "get", "key_x"),
    ("keys", "revoke", "key_x"),
    ("usage",),
    ("usage", "--group-by", "day"),
    ("audit",),
)


@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize("command", COMMANDS)
def test_before_init_a_command_says_what_to_do(
    pdp: Pdp, command: tuple[str, ...], form: tuple[str, ...]
) -> None:
    line = pdp(*command, *form).refusal()
    assert line == f"pdp: there is no database `{pdp.data_dir}/pdp.db`: run `pdp init` first"
    assert not pdp.data_dir.exists()
    pdp("migrate")
    line = pdp(*command, *form).refusal()
    assert line == "pdp: there is no organization: run `pdp init` first"
    assert [path.name for path in pdp.data_dir.iterdir()] == ["pdp.db"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonsense",), "No such command"),
        (("keys", "nonsense"), "No such command"),
        (("keys", "get"), "Missing argument"),
        (("keys", "revoke"), "Missing argument"),
        (("keys", "list", "--nonsense"), "No such option"),
        (("keys", "create", "--monthly-budget", "much"), "--monthly-budget"),
        (("audit", "--limit", "0"), "--limit"),
        (("audit", "--limit", "-1"), "--limit"),
        (("audit", "--limit", "many"), "--limit"),
        (("init", "--organization-id"), "--organization-id"),
    ],
)
def test_a_command_that_is_none_is_refused(
    pdp: Pdp, arguments: tuple[str, ...], words: str
) -> None:
    done = pdp(*arguments)
    assert (done.status, done.out) == (2, "")
    assert words in done.err
    assert not pdp.data_dir.exists()


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("keys", "get", "\udcff"), 3),
        (("keys", "list", "--organization-id", "x\udcff"), 4),
        (("audit", "--key-id", "\udcff"), 3),
        (("init", "--name", "\udc80x"), 3),
        (("\udcff",), 1),
    ],
)
def test_bytes_that_are_no_text_are_refused(
    pdp: Pdp, root: dict[str, str], arguments: tuple[str, ...], place: int
) -> None:
    assert pdp(*arguments).refusal() == f"pdp: argument {place} is not UTF-8: write it in UTF-8"


@pytest.mark.parametrize("name", ["PDP_KEY_PEPPER", "PDP_DATABASE_URL", "PDP_DATA_DIR"])
def test_settings_that_are_no_text_are_refused(pdp: Pdp, name: str) -> None:
    pdp.setting(name, "\udcff" * 40)
    assert pdp("keys", "list").refusal() == f"pdp: {name} is not UTF-8: write it in UTF-8"


def test_what_was_given_with_a_line_break_is_shown_in_one_line(pdp: Pdp) -> None:
    pdp.setting("PDP_DATA_DIR", "/nowhere/é\n\x1b[2J")
    line = pdp("keys", "list").refusal()
    assert line == r"pdp: there is no database `/nowhere/é\n\x1b[2J/pdp.db`: run `pdp init` first"


def test_names_of_settings_in_lower_case_are_put_in_upper_case(
    pdp: Pdp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a data plane is not given by another name what it is not to have."""
    given = {"pdp_max_staleness": "-1", "pdp_workers": "x", "PDP_WORKERS": "2", "pdp": "3"}
    monkeypatch.setattr("os.environ", {**os.environ, **given})
    assert "PDP_MAX_STALENESS: " in pdp("keys", "list").refusal()
    found = {name: text for name, text in os.environ.items() if name.upper().startswith("PDP")}
    del found["PDP_DATA_DIR"]
    assert found == {"PDP_MAX_STALENESS": "-1", "PDP_WORKERS": "2", "pdp": "3"}


@pytest.mark.parametrize("command", [("init",), *COMMANDS, ("migrate",)])
def test_a_wrong_setting_is_named_by_every_command(pdp: Pdp, command: tuple[str, ...]) -> None:
    pdp.setting("PDP_MAX_STALENESS", "-1")
    assert "PDP_MAX_STALENESS: " in pdp(*command).refusal()
    assert not pdp.data_dir.exists()


@pytest.mark.parametrize("command", [("init",), *COMMANDS, ("migrate",)])
def test_a_database_from_the_future_is_refused_by_every_command(
    pdp: Pdp, root: dict[str, str], command: tuple[str, ...]
) -> None:
    with closing(sqlite3.connect(pdp.data_dir / "pdp.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'f00dfeed'")
        connection.commit()
    assert "at revision f00dfeed, which this version does not know" in pdp(*command).refusal()


def test_the_version_is_told(pdp: Pdp) -> None:
    assert pdp("--version").out == f"pdp {__version__}\n"


@pytest.mark.parametrize("command", [("--help",), ("keys", "--help"), ("audit", "--help")])
def test_help_is_no_error(pdp: Pdp, command: tuple[str, ...]) -> None:
    done = pdp(*command)
    assert (done.status, done.err) == (0, "")
    assert "Usage:" in done.out


def test_a_full_disk_behind_the_output_is_a_line(
    pdp: Pdp, root: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("typer.echo", fail)
    assert pdp("keys", "list", "--json").refusal() == "pdp: no space left on device"
