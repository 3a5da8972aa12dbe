"""`pdp keys`."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pdp.secret import is_well_formed
from tests.unit.cli.conftest import Pdp

BODY = {
    "name": "New Application Key",
    "description": "Key for mobile app",
    "permissions": {"models": ["gpt-4o-mini"], "actions": ["chat:completions"]},
    "rate_limits": {"per_minute": 100},
    "budget_limits": {"monthly": 1000.0},
    "expires_at": "2030-12-31T23:59:59Z",
}
pytestmark = pytest.mark.usefixtures("root")


def test_create_takes_the_rest_body_from_a_file(pdp: Pdp, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(BODY))
    made = pdp("keys", "create", "--file", str(path), "--json").json()
    assert is_well_formed(made["api_key"])
    assert {name: made[name] for name in BODY} == {**BODY, "expires_at": made["expires_at"]}
    assert made["expires_at"].startswith("2030-12-31T23:59:59")
    assert made["status"] == "active"


def test_create_takes_the_rest_body_from_stdin(pdp: Pdp) -> None:
    made = pdp("keys", "create", "-f", "-", "--json", stdin=json.dumps(BODY).encode()).json()
    assert made["name"] == BODY["name"]


def test_create_takes_options_and_they_go_before_the_file(pdp: Pdp) -> None:
    options = ("--name", "n", "--key-type", "user", "--team-id", "t", "--user-id", "u")
    limits = ("--model", "a", "--model", "b*", "--monthly-budget", "12.5")
    made = pdp("keys", "create", *options, *limits, "--json").json()
    assert [made[name] for name in ("name", "key_type", "team_id", "user_id")] == [
        *"n",
        "user",
        *"tu",
    ]
    assert made["permissions"] == {"models": ["a", "b*"]}
    assert made["budget_limits"] == {"monthly": 12.5}
    body = json.dumps({**BODY, "budget_limits": {"daily": 1.0}}).encode()
    made = pdp("keys", "create", "-f", "-", *options, *limits, "--json", stdin=body).json()
    assert made["name"] == "n"
    assert made["description"] == BODY["description"]
    assert made["permissions"] == {"models": ["a", "b*"], "actions": ["chat:completions"]}
    assert made["budget_limits"] == {"daily": 1.0, "monthly": 12.5}


def test_create_tells_people_the_secret_and_quiet_prints_nothing_else(pdp: Pdp) -> None:
    done = pdp("keys", "create", "--name", "x")
    assert "vsk_prod_" in done.out
    assert "not shown again" in done.err
    quiet = pdp("keys", "create", "-q")
    assert is_well_formed(quiet.out.strip())
    assert quiet.err == ""


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        (b"", "-: not JSON: "),
        (b"{", "-: not JSON: "),
        (b"\xff", "-: not JSON: "),
        (b"[" * 100_000, "-: not JSON: "),
        (b"[]", "-: not a JSON object"),
        (b'{"nmae": "x", "max_requests": -1}', "nmae: unknown field: "),
        (b'{"nmae": "x", "max_requests": -1}', "max_requests: must be 0 or more"),
        (b'{"expires_at": "9999-12-31T23:59:59Z"}', "expires_at: "),
        (b'{"parent_key_id": "key_x"}', "parent_key_id: there is no key `key_x`"),
    ],
)
def test_a_body_that_is_not_right_is_refused_by_a_line_a_fault_and_makes_nothing(
    pdp: Pdp, stdin: bytes, words: str
) -> None:
    for form in ((), ("--json",), ("--quiet",)):
        refusals = pdp("keys", "create", "-f", "-", *form, stdin=stdin).refusals()
        assert any(words in line for line in refusals)
    assert len(pdp("keys", "list", "--json").json()["keys"]) == 1


@pytest.mark.parametrize("wrong", [["x"], "x", 7, True])
def test_options_on_top_of_a_body_that_is_not_right_are_refused_too(
    pdp: Pdp, wrong: object
) -> None:
    body = json.dumps({"permissions": wrong, "budget_limits": wrong}).encode()
    options = ("--model", "gpt-4o", "--monthly-budget", "1")
    permissions, budgets = pdp("keys", "create", "-f", "-", *options, stdin=body).refusals()
    assert permissions == "pdp: permissions: not an object"
    assert budgets.startswith("pdp: budget_limits: ")


@pytest.mark.parametrize("amount", ["-1", "nan", "inf", "9000001"])
def test_a_budget_that_is_none_is_refused(pdp: Pdp, amount: str) -> None:
    line = pdp("keys", "create", f"--monthly-budget={amount}").refusal()
    assert "budget_limits.monthly: must be from 0 to 9,000,000 USD" in line


def test_a_file_that_cannot_be_read_is_named(pdp: Pdp, tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none", "no such file or directory"), (tmp_path, "directory")):
        line = pdp("keys", "create", "--file", str(path)).refusal()
        assert f"{path}: " in line
        assert reason in line


def test_list_shows_every_key_oldest_first_and_no_secret(pdp: Pdp) -> None:
    made = [pdp.create(name=name) for name in ("first", "[red]second[/red]")]
    pdp("keys", "revoke", made[0]["id"])
    found = pdp("keys", "list", "--json").json()["keys"]
    names = ["root", "first", "[red]second[/red]"]
    assert [key["name"] for key in found] == names
    assert [key["status"] for key in found] == ["active", "revoked", "active"]
    table = pdp("keys", "list").out
    places = [table.index(name) for name in names]
    assert places == sorted(places)
    for key in made:
        assert key["api_key"] not in table + json.dumps(found)
        assert f"{key['prefix']}…{key['last_four']}" in table


def test_list_shows_more_than_a_page(pdp: Pdp, root: dict[str, str]) -> None:
    with closing(sqlite3.connect(pdp.data_dir / "pdp.db")) as connection:
        connection.row_factory = sqlite3.Row
        row = dict(connection.execute("SELECT * FROM api_keys").fetchone())
        row["parent_key_id"] = root["key_id"]
        marks = ", ".join(f":{name}" for name in row)
        connection.executemany(
            f"INSERT INTO api_keys VALUES ({marks})",
            [{**row, "id": f"key_{number}"} for number in range(1500)],
        )
        connection.commit()
    found = pdp("keys", "list", "--json").json()["keys"]
    assert len({key["id"] for key in found}) == len(found) == 1501


@pytest.mark.parametrize("name", ["[/b]", "[red]x", "\\[/b]", "x\\"])
def test_a_name_is_no_markup(pdp: Pdp, name: str) -> None:
    made = pdp.create(name=name)
    assert name in pdp("keys", "get", made["id"]).out
    assert name in pdp("keys", "list").out


def test_get_shows_a_key_as_it_was_made_but_for_the_secret(pdp: Pdp) -> None:
    made = pdp.create(**BODY)
    found = pdp("keys", "get", made["id"], "--json").json()
    assert found == {name: value for name, value in made.items() if name != "api_key"}
    table = pdp("keys", "get", made["id"]).out
    assert made["id"] in table
    assert '{"per_minute":100}' in table
    assert made["api_key"] not in table


def test_revoke_tells_what_goes_on_below_and_cascade_ends_it(pdp: Pdp) -> None:
    team = pdp.create(key_type="team", team_id="a")
    user = pdp.create(key_type="user", team_id="a", user_id="u")
    assert pdp("keys", "revoke", team["id"]).out == (
        f"{team['id']} is revoked; 1 below it go on: --cascade revokes them too\n"
    )
    revoked = pdp("keys", "revoke", team["id"], "--cascade", "--json").json()
    assert (revoked["id"], revoked["status"]) == (team["id"], "revoked")
    assert revoked["live_children"] == 0
    assert pdp("keys", "get", user["id"], "--json").json()["status"] == "revoked"


@pytest.mark.parametrize("command", ["get", "revoke"])
def test_a_key_that_is_not_there_is_named(pdp: Pdp, command: str) -> None:
    for key_id in ("key_none", "", "x\ny"):
        assert pdp("keys", command, key_id, "--json").status == 1
    assert pdp("keys", command, "key_none").refusal() == "pdp: there is no key `key_none`"


def test_each_organization_has_its_own_keys(pdp: Pdp) -> None:
    other = pdp("init", "--organization-id", "org2", "--json").json()
    made = pdp.create(name="mine")
    there = ("--organization-id", "org2")
    assert [key["id"] for key in pdp("keys", "list", *there, "--json").json()["keys"]] == [
        other["key_id"]
    ]
    assert "there is no key" in pdp("keys", "get", made["id"], *there).refusal()
    assert "there is no key" in pdp("keys", "revoke", made["id"], *there).refusal()
    child = pdp("keys", "create", *there, "--json").json()
    assert child["parent_key_id"] == other["key_id"]
    nowhere = pdp("keys", "list", "--organization-id", "org3").refusal()
    assert "there is no organization `org3`: run `pdp init`" in nowhere


def test_a_deny_cannot_be_undone_further_down_in_the_body(pdp: Pdp) -> None:
    deny = {"effect": "Deny", "actions": ["*"], "resources": ["*"]}
    policy = json.dumps({"version": "2024-01-01", "statements": [deny]})
    body = f'{{"policy": {policy}, "policy": null}}'.encode()
    line = pdp("keys", "create", "-f", "-", stdin=body).refusal()
    assert line == "pdp: policy: is there twice: leave one of them out"
