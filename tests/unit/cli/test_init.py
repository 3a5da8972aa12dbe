"""`pdp init` and `pdp migrate`."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing

from pdp.secret import is_well_formed
from pdp.store.revision import NEWEST
from tests.unit.cli.conftest import Pdp


def test_init_makes_an_organization_and_its_root_key(pdp: Pdp) -> None:
    made = pdp("init", "--json").json()
    assert list(made) == ["organization_id", "key_id", "api_key"]
    assert made["organization_id"].startswith("org_")
    assert is_well_formed(made["api_key"])
    (key,) = pdp("keys", "list", "--json").json()["keys"]
    assert (key["id"], key["organization_id"]) == (made["key_id"], made["organization_id"])
    assert (key["key_type"], key["parent_key_id"], key["status"]) == (
        "organization",
        None,
        "active",
    )
    assert key["permissions"] == {
        "manage_keys": True,
        "view_all_usage": True,
        "manage_billing": True,
    }


def test_init_tells_people_the_secret_once_and_says_so_beside_it(pdp: Pdp) -> None:
    done = pdp("init")
    (secret,) = re.findall(r"vsk_prod_\w+", done.out)
    assert is_well_formed(secret)
    assert "not shown again" in done.err
    assert secret not in done.err
    files = [path for path in pdp.data_dir.rglob("*") if path.is_file()]
    assert files
    assert not any(secret.encode() in path.read_bytes() for path in files)


def test_init_again_says_so_and_changes_nothing(pdp: Pdp) -> None:
    made = pdp("init", "--json").json()
    again = pdp("init", "--json", "--timezone", "Europe/Berlin", "--name", "other").json()
    assert {name: again[name] for name in ("organization_id", "key_id")} == {
        name: made[name] for name in ("organization_id", "key_id")
    }
    assert "api_key" not in again
    assert f"{made['organization_id']} is there already; nothing changed" in pdp("init").out
    assert len(pdp("keys", "list", "--json").json()["keys"]) == 1
    assert len(pdp("audit", "--json").json()["logs"]) == 1


def test_init_takes_the_id(pdp: Pdp) -> None:
    made = pdp("init", "--organization-id", "org_abc123", "--json").json()
    assert made["organization_id"] == "org_abc123"
    other = pdp("init", "--organization-id", "org_other", "--json").json()
    assert other["key_id"] != made["key_id"]
    assert pdp("init", "--organization-id", "org_abc123", "--json").json().get("api_key") is None


def test_init_refuses_what_is_no_timezone_and_no_id_at_once_and_makes_nothing(pdp: Pdp) -> None:
    faults = pdp("init", "--timezone", "Mars/Base", "--organization-id", "ö").refusals()
    assert len(faults) == 2
    assert any("timezone: `Mars/Base` is not an IANA timezone" in fault for fault in faults)
    assert any("organization-id: " in fault for fault in faults)
    for wrong in ("", "  ", "org ", "a\nb"):
        assert "organization-id: " in pdp("init", "--organization-id", wrong).refusal()
    for wrong in ("  ", "a\nb", "x" * 257):
        assert "name: not printable text" in pdp("init", "--name", wrong).refusal()
    assert "run `pdp init`" in pdp("keys", "list").refusal()


def test_what_init_makes_is_for_its_owner_alone(pdp: Pdp) -> None:
    pdp("init")
    with closing(sqlite3.connect(pdp.data_dir / "pdp.db")) as connection:
        connection.execute("INSERT INTO meta VALUES ('x', 'y')")
        connection.commit()
        files = {path.name: path.stat().st_mode & 0o777 for path in pdp.data_dir.iterdir()}
    assert files == dict.fromkeys(("pepper", "pdp.db", "pdp.db-wal", "pdp.db-shm"), 0o600)
    assert pdp.data_dir.stat().st_mode & 0o777 == 0o700


def test_a_data_dir_that_was_there_keeps_its_rights(pdp: Pdp) -> None:
    pdp.data_dir.mkdir(mode=0o750)
    pdp("init")
    assert pdp.data_dir.stat().st_mode & 0o777 == 0o750
    assert (pdp.data_dir / "pdp.db").stat().st_mode & 0o777 == 0o600


def test_the_pepper_is_for_its_owner_alone(pdp: Pdp) -> None:
    pdp("init")
    assert (pdp.data_dir / "pepper").stat().st_mode & 0o777 == 0o600


def test_another_pepper_is_refused(pdp: Pdp) -> None:
    pdp.setting("PDP_KEY_PEPPER", "a" * 32)
    pdp("init")
    pdp.setting("PDP_KEY_PEPPER", "b" * 32)
    assert "PDP_KEY_PEPPER: not the one" in pdp("keys", "list").refusal()
    pdp.setting("PDP_KEY_PEPPER", "short")
    line = pdp("init").refusal()
    assert "PDP_KEY_PEPPER: use 32 characters or more" in line
    assert "short" not in line


def test_migrate_says_from_where_to_where(pdp: Pdp) -> None:
    assert pdp("migrate").out == f"from nothing to {NEWEST}\n"
    assert pdp("migrate").out == f"at {NEWEST} already\n"
    pdp.setting("PDP_DATABASE_URL", f"sqlite:///{pdp.data_dir}/other.db")
    assert pdp("migrate").out == f"from nothing to {NEWEST}\n"


def test_migrate_goes_to_a_revision_that_is_one(pdp: Pdp) -> None:
    assert pdp("migrate", "--to", "0001").out == "from nothing to 0001\n"
    assert pdp("migrate", "--to", "0001").out == "at 0001 already\n"
    assert (
        f"at revision 0001, not {NEWEST}: run `pdp migrate` first"
        in pdp("migrate", "--check").refusal()
    )
    assert pdp("migrate").out == f"from 0001 to {NEWEST}\n"
    assert pdp("migrate", "--to", "0001").out == f"from {NEWEST} to 0001\n"
    assert (
        "there is no revision `0000`: use one of 0001, 0002, 0003"
        in pdp("migrate", "--to", "0000").refusal()
    )


def test_migrate_can_look_without_touching(pdp: Pdp) -> None:
    assert "run `pdp init` first" in pdp("migrate", "--check").refusal()
    assert not pdp.data_dir.exists()
    pdp("migrate")
    assert pdp("migrate", "--check").out == f"at {NEWEST} already\n"
    with closing(sqlite3.connect(pdp.data_dir / "pdp.db")) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.commit()
    assert "has no schema yet: run `pdp migrate` first" in pdp("migrate", "--check").refusal()
    assert pdp("migrate", "--check").status == 1


def test_a_database_in_a_folder_that_is_not_there_is_named(pdp: Pdp) -> None:
    pdp.setting("PDP_DATABASE_URL", f"sqlite:///{pdp.data_dir}/nowhere/pdp.db")
    for command in ("init", "migrate"):
        line = pdp(command).refusal()
        assert "PDP_DATABASE_URL: " in line
        assert "nowhere/pdp.db`: " in line
        assert "unable to open" in line


def test_a_data_dir_that_is_a_file_is_named(pdp: Pdp) -> None:
    pdp.data_dir.write_text("")
    for command in ("init", "migrate"):
        assert str(pdp.data_dir) in pdp(command).refusal()


def test_the_module_is_the_command(pdp: Pdp) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pdp", *arguments],
            env={**os.environ, "PDP_DATA_DIR": str(pdp.data_dir)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    refused = run("keys", "list")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith("pdp.db`: run `pdp init` first\n")
    assert refused.stderr.count("\n") == 1
    made = run("init", "--json")
    assert (made.returncode, made.stderr) == (0, "")
    assert pdp("keys", "get", json.loads(made.stdout)["key_id"], "--json").json()["name"] == "root"
