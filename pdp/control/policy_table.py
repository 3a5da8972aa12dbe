"""Tables of requests and what is to become of them: the tests of a policy.

docs/policy-tests.md has the format. The request of a check is that of a simulation, and
the keys are those of one; so is what decides.
"""

from typing import Any, Final, Literal

from msgspec import Struct

from pdp.control.asked import Asked, read_asked
from pdp.control.policies import chosen
from pdp.control.sample import ReadFile, Sample, read_sample, read_zone
from pdp.cursor import Cursor
from pdp.model import Resolved
from pdp.policy.moment import parse_instant
from pdp.problems import Problems
from pdp.reasons import REASONS

NOON: Final = "2024-06-03T14:00:00Z"
"""When the requests of a table come that does not say it: a test gives the same every day."""

_FIELDS: Final = ("table", "timezone", "keys", "policy", "file", "request", "checks")
_CHECK: Final = ("name", "key", "request", "expect")
_EXPECT: Final = ("decision", "reason", "statement", "message")


class Expected(Struct, frozen=True):
    """What is to become of a request; None and an empty tuple: whatever it is.

    `message` has the parts that the message must have; `statement` empty: none decided.
    """

    decision: Literal["allow", "deny"]
    reason: str | None = None
    statement: str | None = None
    message: tuple[str, ...] = ()

    def faults(self, answer: dict[str, Any]) -> list[str]:
        """Return what of an answer of the simulation is not as expected."""
        found = []
        if answer["decision"] != self.decision:
            found.append("decision")
        if self.reason is not None and answer["reason"] != self.reason:
            found.append("reason")
        if self.statement is not None and (answer["matched_statement"] or "") != self.statement:
            found.append("statement")
        if any(part not in answer["message"] for part in self.message):
            found.append("message")
        return found


class Case(Struct, frozen=True):
    """One check of a table, with all that it needs."""

    table: str
    name: str
    sample: Sample
    key_id: str
    asked: Asked
    expected: Expected

    @property
    def resolved(self) -> Resolved:
        """The key that asks, with its chains."""
        return self.sample.resolve(self.key_id)


def read_table(
    document: object, at: str, default_name: str, problems: Problems, read_file: ReadFile
) -> list[Case]:
    """Return the checks of one table; faults are noted, with places that begin with `at`."""
    fields = Cursor(document, at, problems).fields(_FIELDS, ("checks",))
    if fields is None:
        return []
    name = fields["table"].text() if "table" in fields else default_name
    sample = _sample(fields, at, problems, read_file)
    shared = fields["request"].value if "request" in fields else {}
    if not isinstance(shared, dict):
        fields["request"].expected("an object")
        shared = {}
    elif "request" in fields:
        read_asked(fields["request"], "", 0)  # Its faults are told once, not with every check.
    checks = (fields["checks"].items(may_be_empty=False) or []) if "checks" in fields else []
    found = [_read_check(each, name or "", sample, shared) for each in checks]
    return [case for case in found if case is not None]


def _sample(
    fields: dict[str, Cursor], at: str, problems: Problems, read_file: ReadFile
) -> Sample | None:
    """Return the keys that a table is about; `policy` and `file` are those of one key."""
    given = [name for name in ("keys", "policy", "file") if name in fields]
    zone = read_zone(fields["timezone"]) if "timezone" in fields else "UTC"
    if len(given) != 1:
        problems.add(at, "needs one of `keys`, `policy` and `file`: what is tested")
        return None
    (name,) = given
    cursor = fields[name]
    if name == "keys":
        return read_sample(cursor, zone, read_file)
    found = Problems()
    sample = read_sample(Cursor([{name: cursor.value}], "", found), zone, read_file)
    for problem in found:
        place = problem.location.removeprefix("[0].")
        inner = place if place.startswith(name) else f"{name}: {place}"
        problems.add(cursor.at.removesuffix(name) + inner, problem.message)
    return sample


def _read_check(
    cursor: Cursor, table: str, sample: Sample | None, shared: dict[str, Any]
) -> Case | None:
    before = len(cursor.problems)
    fields = cursor.fields(_CHECK, ("name", "expect"))
    if fields is None:
        return None
    name = fields["name"].text() if "name" in fields else ""
    key = fields.get("key", Cursor(None, f"{cursor.at}.key", cursor.problems))
    key_id = chosen(key, sample) if sample is not None else ""
    expected = _read_expected(fields["expect"], key_id) if "expect" in fields else None
    own = fields.get("request", Cursor({}, f"{cursor.at}.request", cursor.problems))
    if not isinstance(own.value, dict):
        own.expected("an object")
        return None
    read_asked(own, key_id, 0)
    if sample is None or len(cursor.problems) > before:
        return None
    # What is shared has no fault, or it has been told: this reads both together.
    both = Cursor({**shared, **own.value}, own.at, Problems())
    asked = read_asked(both, key_id, parse_instant(NOON) or 0)
    if asked is None or expected is None:
        return None
    return Case(table, name or "", sample, key_id, asked, expected)


def _read_expected(cursor: Cursor, key_id: str) -> Expected | None:
    before = len(cursor.problems)
    if not isinstance(cursor.value, dict):
        return _expected(cursor.one_of(("allow", "deny")))
    fields = cursor.fields(_EXPECT, ("decision",)) or {}
    decision = fields["decision"].one_of(("allow", "deny")) if "decision" in fields else None
    reason = fields["reason"].one_of(tuple(REASONS)) if "reason" in fields else None
    statement = None
    if "statement" in fields:
        # null: none decided. A statement of the key that asks needs no key.
        statement = "" if fields["statement"].value is None else fields["statement"].text()
        if statement and "/" not in statement:
            statement = f"{key_id}/{statement}"
    parts: tuple[str, ...] | None = ()
    if "message" in fields:
        whole = isinstance(fields["message"].value, str)
        one = Cursor([fields["message"].value], fields["message"].at, cursor.problems)
        parts = (one if whole else fields["message"]).patterns()
    if len(cursor.problems) > before:
        return None
    return _expected(decision, reason, statement, parts or ())


def _expected(
    decision: str | None,
    reason: str | None = None,
    statement: str | None = None,
    message: tuple[str, ...] = (),
) -> Expected | None:
    if decision == "allow":
        return Expected("allow", reason, statement, message)
    return Expected("deny", reason, statement, message) if decision == "deny" else None
