"""What commands need to work: the database, its pepper and their settings."""

import sqlite3
from contextlib import closing

import pytest

from tests.unit.cli.conftest import Pdp

READERS = (("keys", "list"), ("usage",), ("usage", "--group-by", "day"), ("audit",))
ALL = (*READERS, ("init",), ("keys", "create"), ("keys", "revoke", "key_x"))
PEPPER = "a" * 32


@pytest.mark.parametrize("command", READERS)
def test_readers_do_not_wait_for_a_writer(
    pdp: Pdp, root: dict[str, str], command: tuple[str, ...]
) -> None:
    database = pdp.data_dir / "pdp.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO meta VALUES ('x', 'y')")
        assert pdp(*command).status == 0
        assert pdp("keys", "get", root["key_id"], "--json").json()["name"] == "root"


def test_a_pepper_is_not_settled_before_the_first_key(pdp: Pdp) -> None:
    pdp("keys", "list")
    pdp("migrate")
    with closing(sqlite3.connect(pdp.data_dir / "pdp.db")) as connection:
        connection.execute("INSERT INTO meta VALUES ('pepper_fingerprint', 'of another')")
        connection.commit()
    pdp.setting("PDP_KEY_PEPPER", PEPPER)
    made = pdp("init", "--json").json()
    assert pdp("keys", "list", "--json").json()["keys"][0]["id"] == made["key_id"]
    assert not (pdp.data_dir / "pepper").exists()
    pdp.setting("PDP_KEY_PEPPER", "b" * 32)
    assert "PDP_KEY_PEPPER: not the one" in pdp("keys", "list").refusal()


@pytest.mark.parametrize("command", ALL)
def test_a_pepper_that_is_lost_is_named_and_not_made_again(
    pdp: Pdp, root: dict[str, str], command: tuple[str, ...]
) -> None:
    path = pdp.data_dir / "pepper"
    path.unlink()
    line = pdp(*command).refusal()
    assert line.startswith(f"pdp: PDP_DATA_DIR: there is no `{path}`: put back the pepper")
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has fewer than 32 characters"),
        (b"x" * 31 + b"\n" * 9, "has fewer than 32 characters"),
        (b"x" * 40 + b"\xff", "is not UTF-8"),
        (b"x" * 40, "is not the one that this database's keys were made with"),
    ],
)
def test_a_pepper_file_that_is_not_right_is_named(
    pdp: Pdp, root: dict[str, str], content: bytes, words: str
) -> None:
    path = pdp.data_dir / "pepper"
    path.write_bytes(content)
    for command in ALL:
        assert f"PDP_DATA_DIR: `{path}` {words}" in pdp(*command).refusal()
    assert path.read_bytes() == content


def test_a_pepper_file_that_is_too_short_makes_no_first_key(pdp: Pdp) -> None:
    pdp.data_dir.mkdir()
    (pdp.data_dir / "pepper").write_text("short")
    assert "has fewer than 32 characters" in pdp("init").refusal()
    assert "run `pdp init`" in pdp("keys", "list").refusal()


def test_a_pepper_of_the_settings_needs_no_file(pdp: Pdp, root: dict[str, str]) -> None:
    path = pdp.data_dir / "pepper"
    pdp.setting("PDP_KEY_PEPPER", path.read_text())
    path.unlink()
    assert pdp("keys", "get", root["key_id"], "--json").json()["id"] == root["key_id"]


@pytest.mark.parametrize("path", ["", "  "])
def test_a_data_dir_without_a_name_is_refused(pdp: Pdp, path: str) -> None:
    pdp.setting("PDP_DATA_DIR", path)
    for command in ALL:
        assert pdp(*command).refusal().startswith("pdp: PDP_DATA_DIR: is empty")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_that_would_be_gone_with_the_command_is_refused(pdp: Pdp, url: str) -> None:
    pdp.setting("PDP_DATABASE_URL", url)
    for command in (*ALL, ("migrate",)):
        assert "PDP_DATABASE_URL: needs a file" in pdp(*command).refusal()


def test_a_database_of_its_own_that_is_not_there_is_named(pdp: Pdp, root: dict[str, str]) -> None:
    elsewhere = pdp.data_dir / "elsewhere.db"
    pdp.setting("PDP_DATABASE_URL", f"sqlite:///{elsewhere}")
    assert f"there is no database `{elsewhere}`" in pdp("keys", "list").refusal()
    assert not elsewhere.exists()


def test_options_say_where_the_database_is_before_variables_do(pdp: Pdp) -> None:
    elsewhere = str(pdp.data_dir.with_name("elsewhere"))
    made = pdp("init", "--json", "--data-dir", elsewhere).json()
    (key,) = pdp("keys", "list", "--json", "--data-dir", elsewhere).json()["keys"]
    assert key["id"] == made["key_id"]
    assert not pdp.data_dir.exists()
    pdp.setting("PDP_DATABASE_URL", f"sqlite:///{pdp.data_dir}/none.db")
    url = f"sqlite:///{elsewhere}/pdp.db"
    assert pdp("audit", "--data-dir", elsewhere).status == 1
    found = pdp("audit", "--json", "--data-dir", elsewhere, "--database-url", url).json()
    assert len(found["logs"]) == 1
