"""`pdp policy`."""

import json
from pathlib import Path

import pytest

from pdp.policy.reference import reference_page
from tests.unit.cli.conftest import Pdp

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "policies"
WRONG = """\
version: 2024-01-01
statements:
  - {effect: allow, actions: ["chat:*"], resources: ["*"], condition: {in: [gpt-4o], x: 1}}
"""


def test_check_says_ok(pdp: Pdp) -> None:
    file = str(EXAMPLES / "office-hours.yaml")
    done = pdp("policy", "check", file)
    assert (done.status, done.out, done.err) == (0, f"{file}: ok\n", "")
    found = pdp("policy", "check", file, "--json").json()["files"]
    assert found == [{"file": file, "valid": True, "errors": [], "warnings": []}]
    assert not pdp.data_dir.exists()


@pytest.mark.parametrize("name", ["p", "policy.yaml", "statements"])
def test_check_says_every_fault_with_file_and_place(pdp: Pdp, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text(WRONG)
    done = pdp("policy", "check", str(file))
    lines = [line.partition(": ")[0] for line in done.err.splitlines()]
    place = f"{file}:statements[0]"
    wanted = [f"{place}.effect", f"{place}.condition.x", f"{place}.condition.in"]
    assert sorted(lines) == sorted(wanted)
    assert (done.status, done.out) == (1, "")
    answer = pdp("policy", "check", str(file), "--json")
    assert answer.status == 1
    (found,) = json.loads(answer.out)["files"]
    assert len(found["errors"]) == 3


def test_check_takes_the_body_of_a_key_from_stdin(pdp: Pdp) -> None:
    body = {"permissions": {"models": []}, "budget_limits": {"daily": -1}}
    done = pdp("policy", "check", "-", stdin=json.dumps(body).encode())
    assert done.status == 1
    assert done.err.startswith("-:budget_limits.daily: must be from 0 ")
    done = pdp("policy", "check", "-", stdin=b"permissions: {models: []}")
    assert (done.status, done.out) == (0, "-: ok\n")
    assert done.err.startswith("-:permissions.models: warning: is empty")


@pytest.mark.parametrize(
    ("stdin", "start"),
    [
        (b"", "-: is empty"),
        (b"a: [", "-:1:5: not YAML: "),
        (b"[", "-:1:2: not YAML: "),
        (b"a: 1\n---\nb: 2\n", "-: has 2 documents"),
        (b"- " * 100_000, "-: nested too deeply"),
        (b"\xff", "-: not YAML: "),
        (b"[1]", "-:body: not a JSON object"),
        (b"{}", "-:version: is required"),
        (b"policy: {}\npolicy: {}\n", "-:policy: is there twice"),
    ],
)
def test_what_is_no_document_is_refused(pdp: Pdp, stdin: bytes, start: str) -> None:
    for command in ("check", "test"):
        done = pdp("policy", command, "-", stdin=stdin)
        assert (done.status, done.out) == (1, "")
        if command == "check":
            assert done.err.startswith(start)
        assert done.err.startswith("-")


@pytest.mark.parametrize("command", ["check", "test"])
def test_a_file_that_cannot_be_read_is_named(pdp: Pdp, tmp_path: Path, command: str) -> None:
    done = pdp("policy", command, str(tmp_path / "none.yaml"))
    assert (done.status, done.err) == (1, f"{tmp_path}/none.yaml: no such file or directory\n")
    assert pdp("policy", command, str(tmp_path)).err == f"{tmp_path}: is a directory\n"
    assert pdp("policy", command, "x" * 5000).status == 1


def test_test_runs_the_checks_of_a_table(pdp: Pdp) -> None:
    file = str(EXAMPLES / "office-hours.test.yaml")
    done = pdp("policy", "test", file)
    assert done.status == 0
    *lines, summary = done.out.splitlines()
    assert lines[0] == "ok    office hours: in the morning"
    assert summary == "9 checks: 9 ok, 0 failed"
    assert pdp("policy", "test", "--quiet", file).out == f"{summary}\n"


def test_the_tables_of_this_project_pass(pdp: Pdp) -> None:
    files = [str(path) for path in sorted((ROOT / "tests" / "cases").glob("*.yaml"))]
    pdp.setting("PDP_UNKNOWN_PRICE", "allow")
    found = json.loads(pdp("policy", "test", *files, "--json").out)
    assert found["total"] > 200
    failed = [each for each in found["checks"] if not each["passed"]]
    # Policies know no such action; a Check does not even come to them.
    assert [each["name"] for each in failed] == ["an action that nobody knows"]
    assert found["failed"] == 1


FAILING = """\
table: hours
file: office-hours.yaml
request: {model: gpt-4o, at: 2024-06-03T22:00:00+02:00}
checks:
  - {name: at night, expect: {decision: allow, reason: ok, statement: "statements[0]", message: x}}
  - {name: a preview, request: {model: x-preview}, expect: {decision: deny, statement: null}}
"""


def test_a_check_that_fails_says_what_decided(pdp: Pdp, tmp_path: Path) -> None:
    (tmp_path / "office-hours.yaml").write_text((EXAMPLES / "office-hours.yaml").read_text())
    file = tmp_path / "hours.yaml"
    file.write_text(FAILING)
    done = pdp("policy", "test", str(file))
    assert done.status == 1
    lines = [line.strip() for line in done.out.splitlines()]
    assert lines[:5] == [
        "FAIL  hours: at night",
        "decision: expected allow, got deny",
        "reason: expected ok, got condition_not_met",
        "statement: expected key/statements[0], got none",
        lines[4],
    ]
    assert lines[4].startswith("message: expected x, got ")
    assert "decided: deny policy_denied by key/statements[1]" in lines
    assert "statement: expected none, got key/statements[1]" in lines
    assert lines[-1] == "2 checks: 0 ok, 2 failed"
    answer = pdp("policy", "test", str(file), "--json")
    assert answer.status == 1
    found = json.loads(answer.out)
    assert (found["total"], found["passed"], found["failed"]) == (2, 0, 2)
    assert found["checks"][1]["faults"] == ["statement"]
    assert found["checks"][1]["actual"]["reason"] == "policy_denied"


@pytest.mark.parametrize(
    ("table", "place"),
    [
        ("{keys: [{}], checks: []}", "checks"),
        ("policy: {version: 2024-01-01, statements: []}", "checks"),
        ("checks: [{name: a, expect: allow}]", ""),
        ("{policy: x, file: y, checks: [{name: a, expect: allow}]}", ""),
        ("{policy: x, checks: [{name: a, expect: allow}]}", "policy"),
        ("{policy: {version: 1, statements: []}, checks: [{name: a, expect: allow}]}",
         "policy.version"),
        ("{file: none.yaml, checks: [{name: a, expect: allow}]}", "file"),
        ("{file: [], checks: [{name: a, expect: allow}]}", "file"),
        ("{keys: [{id: a, file: wrong.yaml}], checks: [{name: a, expect: allow}]}",
         "keys[0].policy.statements[0].effect"),
        ("{keys: [{}], nonsense: 1, checks: [{name: a, expect: allow}]}", "nonsense"),
        ("{keys: [{}], checks: [{name: a, expect: maybe}]}", "checks[0].expect"),
        ("{keys: [{}], checks: [{expect: allow}]}", "checks[0].name"),
        ("{keys: [{}], checks: [{name: a}]}", "checks[0].expect"),
        ("{keys: [{}], checks: [{name: a, expect: {decision: deny, reason: because}}]}",
         "checks[0].expect.reason"),
        ("{keys: [{}], checks: [{name: a, expect: {decision: deny, message: 1}}]}",
         "checks[0].expect.message"),
        ("{keys: [{}], checks: [{name: a, key: b, expect: allow}]}", "checks[0].key"),
        ("{keys: [{}], checks: [{name: a, request: {modle: b}, expect: allow}]}",
         "checks[0].request.modle"),
        ("{keys: [{}], request: {modle: b}, checks: [{name: a, expect: allow}]}", "request.modle"),
        ("{keys: [{}], request: [], checks: [{name: a, expect: allow}]}", "request"),
        ("{keys: [{}], timezone: Moon, checks: [{name: a, expect: allow}]}", "timezone"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_right_says_where(
    pdp: Pdp, tmp_path: Path, table: str, place: str
) -> None:
    (tmp_path / "wrong.yaml").write_text(
        "policy: {version: 2024-01-01, statements: [{effect: x, actions: ['*'], resources: ['*']}]}"
    )
    file = tmp_path / "t.yaml"
    file.write_text(table)
    done = pdp("policy", "test", str(file))
    assert (done.status, done.out) == (1, "")
    told = [line.partition(": ")[0] for line in done.err.splitlines()]
    assert f"{file}:{place}".strip(":") in told
    if place != "policy":
        assert len(told) == 1, done.err


def test_of_several_tables_the_wrong_one_is_told(pdp: Pdp) -> None:
    text = b"{keys: [{}], checks: [{name: a, expect: allow}]}\n---\n{keys: [{}], checks: 1}\n"
    done = pdp("policy", "test", "-", stdin=text)
    assert done.err == "-:tables[1].checks: must be a list, not a number\n"


def test_reference_prints_the_page(pdp: Pdp) -> None:
    assert pdp("policy", "reference").out == reference_page()


def test_simulate_decides_by_a_file(pdp: Pdp) -> None:
    file = str(EXAMPLES / "office-hours.yaml")
    ask = ("policy", "simulate", file, "--model", "gpt-4o", "--at")
    done = pdp(*ask, "2024-06-03T14:00:00Z")
    assert done.status == 0
    assert done.out.splitlines()[:2] == ["decision   allow (200)", "reason     ok"]
    done = pdp(*ask, "2024-06-03T20:00:00Z", "--json")
    answer = json.loads(done.out)
    assert (done.status, answer["reason"]) == (1, "condition_not_met")
    assert answer["at"] == "2024-06-03T20:00:00Z"
    assert not pdp.data_dir.exists()


def test_simulate_takes_the_body_of_rest_whose_request_goes_before_options(pdp: Pdp) -> None:
    body = {
        "budget_limits": {"daily": 1.0},
        "request": {"model": "gpt-4o", "spend": {"daily": 1.0}},
    }
    ask = ("policy", "simulate", "-", "--model", "o3", "--json")
    answer = json.loads(pdp(*ask, stdin=json.dumps(body).encode()).out)
    assert (answer["reason"], answer["limits"][0]["spent"]) == ("budget_exceeded", 10**9)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("[]", "-:body: not a JSON object"),
        ('{"request": 3}', "-:request: must be an object, not a number"),
        ('{"request": {"at": "soon"}}', "-:request.at: `soon` is no time"),
        ('{"api_key_id": "key_1"}', "pdp: -:api_key_id: no database is read here"),
    ],
)
def test_simulate_says_what_is_wrong_with_a_file(pdp: Pdp, body: str, words: str) -> None:
    done = pdp("policy", "simulate", "-", "--model", "gpt-4o", stdin=body.encode())
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(words)
