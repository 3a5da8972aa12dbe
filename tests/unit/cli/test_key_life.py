"""`pdp keys`: update, rotate, suspend, resume, temporary, and the filters of list."""

import json
from typing import Any

import pytest

from pdp.secret import is_well_formed
from tests.unit.cli.conftest import Pdp

pytestmark = pytest.mark.usefixtures("root")


def shown(pdp: Pdp, key_id: str) -> dict[str, Any]:
    found: dict[str, Any] = pdp("keys", "get", key_id, "--json").json()
    return found


def patched(pdp: Pdp, key_id: str, patch: object, *options: str) -> Any:
    return pdp("keys", "update", key_id, "-f", "-", *options, stdin=json.dumps(patch).encode())


def test_update_merges_a_patch(pdp: Pdp) -> None:
    made = pdp.create(name="a", rate_limits={"per_minute": 1, "per_day": 9}, description="d")
    patch = {"rate_limits": {"per_minute": 2}, "description": None}
    changed = patched(pdp, made["id"], patch, "--json").json()
    assert (changed["rate_limits"], changed["description"]) == ({"per_minute": 2, "per_day": 9}, "")
    assert changed == shown(pdp, made["id"])
    told = patched(pdp, made["id"], {"name": "b"})
    assert told.status == 0
    assert f"{made['id']} is at version" in told.out


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"key_type": "team"}, "key_type: cannot be changed"),
        ({"nmae": "x"}, "nmae: unknown field"),
        ([], "-: not a JSON object"),
    ],
)
def test_update_says_what_is_wrong(pdp: Pdp, patch: object, words: str) -> None:
    assert words in patched(pdp, pdp.create()["id"], patch).refusal()


def test_update_needs_a_key_and_a_file_that_are_there(pdp: Pdp) -> None:
    assert "there is no key `key_x`" in patched(pdp, "key_x", {}).refusal()
    assert "/none: no such file" in pdp("keys", "update", "key_x", "-f", "/none").refusal()


def test_warnings_are_on_stderr(pdp: Pdp) -> None:
    past = {"expires_at": "2020-01-01T00:00:00Z"}
    made = pdp("keys", "create", "-f", "-", "--json", stdin=json.dumps(past).encode())
    assert made.json()["status"] == "expired"
    changed = patched(pdp, pdp.create()["id"], past)
    quiet = pdp("keys", "create", "-f", "-", "-q", stdin=json.dumps(past).encode())
    for done in (made, changed, quiet):
        assert done.err.startswith("warning: expires_at is in the past")
    assert is_well_formed(quiet.out.strip())


def test_rotate_gives_a_new_secret(pdp: Pdp) -> None:
    made = pdp.create()
    rotated = pdp("keys", "rotate", made["id"], "--grace-period", "60", "--json").json()
    assert rotated["id"] == made["id"]
    assert is_well_formed(rotated["api_key"])
    assert rotated["api_key"] != made["api_key"]
    quiet = pdp("keys", "rotate", made["id"], "--quiet")
    assert is_well_formed(quiet.out.strip())
    assert quiet.err == ""
    assert "not shown again" in pdp("keys", "rotate", made["id"]).err
    refused = pdp("keys", "rotate", made["id"], "--grace-period", "-1").refusal()
    assert "grace_period: not a whole number" in refused


def test_suspend_and_resume(pdp: Pdp) -> None:
    key_id = pdp.create()["id"]
    assert pdp("keys", "suspend", key_id).out == f"{key_id} is suspended\n"
    assert shown(pdp, key_id)["status"] == "suspended"
    assert pdp("keys", "resume", key_id, "--json").json()["status"] == "active"
    pdp("keys", "revoke", key_id)
    assert "is revoked, for good" in pdp("keys", "resume", key_id).refusal()


def test_a_key_is_reported_as_compromised(pdp: Pdp) -> None:
    key_id = pdp.create()["id"]
    told = pdp("keys", "report-compromised", key_id, "--reason", "seen in a repository")
    assert told.out == f"{key_id} is suspended\n"
    entries = pdp("audit", "--action", "keys.report_compromised", "--json").json()["logs"]
    assert [entry["metadata"]["reason"] for entry in entries] == ["seen in a repository"]
    refused = pdp("keys", "report-compromised", key_id, "--reason", "x" * 501).refusal()
    assert "reason: not printable text" in refused


def test_temporary_takes_options_and_a_file(pdp: Pdp) -> None:
    options = ("--expires-in", "3600", "--model", "gpt-4o", "--max-requests", "100")
    made = pdp("keys", "temporary", *options, "--json").json()
    assert (made["temporary"], made["max_requests"]) == (True, 100)
    assert made["permissions"] == {"models": ["gpt-4o"]}
    body = {"expires_in": 60, "permissions": {"models": ["o3"], "max_requests": 3}}
    stdin = json.dumps(body).encode()
    made = pdp("keys", "temporary", "-f", "-", "--name", "demo", "--json", stdin=stdin).json()
    assert (made["name"], made["permissions"]) == ("demo", body["permissions"])
    assert "vsk_prod_" in pdp("keys", "temporary", "--expires-in", "60", "-q").out
    assert "expires_in: not a whole number" in pdp("keys", "temporary").refusal()


def test_list_filters(pdp: Pdp) -> None:
    team = pdp.create(name="team", key_type="team", team_id="a")
    user = pdp.create(name="user", key_type="user", team_id="a", user_id="u")
    pdp("keys", "suspend", user["id"])

    def listed(*options: str) -> list[str]:
        found = pdp("keys", "list", *options, "--json").json()["keys"]
        return [key["id"] for key in found if key["parent_key_id"]]

    assert listed() == listed("--team-id", "a") == [team["id"], user["id"]]
    assert listed("--status", "suspended") == listed("--user-id", "u") == [user["id"]]
    assert listed("--key-type", "team", "--status", "active") == [team["id"]]
    assert listed("--older-than", "90d") == listed("--older-than", "2w") == []
    assert listed("--older-than", "7776000") == []
    assert listed("--older-than", "0s") == [team["id"], user["id"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--older-than", "90y"), "--older-than: `90y` is no length of time"),
        (("--older-than", "-1d"), "--older-than: `-1d` is no length of time"),
        (("--status", "dead"), "status: use one of active"),
    ],
)
def test_list_says_what_is_wrong(pdp: Pdp, options: tuple[str, ...], words: str) -> None:
    assert words in pdp("keys", "list", *options).refusal()
