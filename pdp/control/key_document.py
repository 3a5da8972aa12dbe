"""The body that makes a key: strict, every fault located, all at once."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from pdp.control.resource import SECRET_SHOWN
from pdp.policy.moment import parse_instant
from pdp.problems import Problems
from pdp.secret import is_environment
from pdp.store.keys import Document
from pdp.wording import printable, shown

KEY_TYPES = ("organization", "team", "user", "application")
ACCESS = ("full", "read_only", "custom")
EVENTS = (
    "key.created",
    "key.revoked",
    "key.limit_exceeded",
    "key.budget_threshold",
    "key.suspicious_activity",
)
EMAIL = r"[!-?A-~]{1,64}@[!-?A-~]{1,255}"
URL = r"https?://[!-~]{1,1990}"
"""Of a webhook, and of who is told of a budget: their forms alone."""
MOST_BYTES = 64 * 1024
"""Of a body as JSON: every data plane holds every key in use, compiled."""
_MAX_METADATA = 64
_MOST_FAILURES = 1_000_000
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LATEST = 2**63 - 1
"""What the database can hold of a time in ns."""


class KeyDocument(Struct, frozen=True):
    """A parsed body. Empty strings and None mean "not given"; `expires_at` in ns."""

    name: str
    description: str
    key_type: str
    organization_id: str
    team_id: str
    user_id: str
    parent_key_id: str
    permissions_apply_to: str
    environment: str
    expires_at: int | None
    authored: Document


def parse_key_document(body: object, problems: Problems) -> KeyDocument | None:
    """Return the body's fields, the faulty ones as not given; None if the body is none.

    Policies, permissions, allowlists and limits are only checked for being
    objects here: compiling the key checks them, with the same locations. So
    that all faults come at once, it goes on with what is left of the body.
    """
    if not isinstance(body, Mapping):
        problems.add("body", "not a JSON object")
        return None
    if fault := _fault_of_whole(body):
        problems.add("body", fault)
        return None
    for name in body:
        if name not in _FIELDS:
            problems.add(printable(str(name)), f"unknown field: use one of {', '.join(_FIELDS)}")
    values = {name: parse(body.get(name), name, problems) for name, parse in _FIELDS.items()}
    if values["access"] == "custom" and body.get("policy") is body.get("permissions") is None:
        problems.add("access", "`custom` needs a policy or permissions beside it")
    key_type = values["key_type"] or "application"
    subject = values["user_id"] or values["team_id"] or values["organization_id"]
    return KeyDocument(
        name=values["name"] or f"{key_type} {subject}".strip(),
        description=values["description"],
        key_type=key_type,
        organization_id=values["organization_id"],
        team_id=values["team_id"],
        user_id=values["user_id"],
        parent_key_id=values["parent_key_id"],
        permissions_apply_to=values["permissions_apply_to"] or "self",
        environment=values["environment"] or "prod",
        expires_at=values["expires_at"],
        authored=Document(**{name: values[name] for name in Document.__struct_fields__}),
    )


def _fault_of_whole(body: Mapping[Any, Any]) -> str:
    try:
        size = len(msgspec.json.encode(dict(body)))
    except RecursionError:
        return "nested too deeply"
    except UnicodeEncodeError:
        return "not Unicode: half of a surrogate pair is in it"
    if size > MOST_BYTES:
        return f"{size:,} bytes of JSON, of at most 64 KiB: say less in one key"
    return ""


Parse = Callable[[object, str, Problems], Any]


def _text(limit: int, *, identity: bool = False) -> Parse:
    """Return a parser of text; of an identity, `x` and `x ` would look like one and be two."""

    def parse(value: object, at: str, problems: Problems) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            problems.add(at, "not a text")
            return ""
        if len(value) > limit or not value.isprintable():
            problems.add(at, f"not printable text of {limit} characters or fewer")
            return ""
        if value and not value.strip():
            problems.add(at, "only blanks: leave it out")
            return ""
        if identity and value != value.strip():
            problems.add(at, "has blanks around it: remove them")
            return ""
        return value

    return parse


def _one_of(*known: str) -> Parse:
    def parse(value: object, at: str, problems: Problems) -> str | None:
        if value is not None and value not in known:
            problems.add(at, f"{shown(str(value))} is not one of {', '.join(known)}")
            return None
        return value if isinstance(value, str) else None

    return parse


def _object(value: object, at: str, problems: Problems) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        problems.add(at, "not an object")
        return None
    return value


def _given(value: object, _at: str, _problems: Problems) -> Any:
    return value


def _environment(value: object, at: str, problems: Problems) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not is_environment(value):
        problems.add(at, "not an environment: use a-z and 0-9, 16 characters or fewer")
        return ""
    return value


def _instant(value: object, at: str, problems: Problems) -> int | None:
    if value is None:
        return None
    found = parse_instant(value) if isinstance(value, str) else None
    if found is None:
        problems.add(at, "not a time: use RFC 3339 with an offset, `2030-12-31T23:59:59Z`")
    elif not 0 <= found <= _LATEST:
        problems.add(at, "not from 1970 to 2262: leave it out if it never ends")
        return None
    return found


def _metadata(value: object, at: str, problems: Problems) -> dict[str, str] | None:
    document = _object(value, at, problems)
    if document is None:
        return None
    if len(document) > _MAX_METADATA:
        problems.add(at, f"more than {_MAX_METADATA} entries")
    for name, text in document.items():
        place = f"{at}.{printable(name)}"
        if not name.strip() or len(name) > 128 or _CONTROL.search(name):
            problems.add(place, "not a name: use 1 to 128 characters, no control characters")
        if not isinstance(text, str) or len(text) > 512:
            problems.add(place, "not a text of 512 characters or fewer")
        elif _CONTROL.search(text):
            problems.add(place, "has control characters, such as line breaks: remove them")
    return document


def _thresholds(value: object, at: str, problems: Problems) -> None:
    if not isinstance(value, list) or not all(
        isinstance(each, int) and not isinstance(each, bool) and 1 <= each <= 100 for each in value
    ):
        problems.add(at, "not a list of whole percentages from 1 to 100")


def _whole(most: int) -> Parse:
    def parse(value: object, at: str, problems: Problems) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            problems.add(at, f"not a whole number from 1 to {most:,}")

    return parse


def _flag(value: object, at: str, problems: Problems) -> None:
    if not isinstance(value, bool):
        problems.add(at, "not true or false")


def _events(value: object, at: str, problems: Problems) -> None:
    if not isinstance(value, list) or any(each not in EVENTS for each in value):
        problems.add(at, f"not a list of events: use {', '.join(EVENTS)}")


def _shaped(pattern: str, what: str) -> Parse:
    shape = re.compile(pattern, re.ASCII)

    def parse(value: object, at: str, problems: Problems) -> None:
        if not isinstance(value, str) or not shape.fullmatch(value):
            problems.add(at, what)

    return parse


def _secret(value: object, at: str, problems: Problems) -> None:
    _text(256)(value, at, problems)
    if value == SECRET_SHOWN:
        problems.add(at, "this stands for a secret that is not shown: give the secret itself")


def _fields(**known: Parse) -> Parse:
    """Return a parser of an object that has only known fields; null is absent."""

    def parse(value: object, at: str, problems: Problems) -> dict[str, Any] | None:
        document = _object(value, at, problems)
        for name, each in (document or {}).items():
            if name not in known:
                problems.add(
                    f"{at}.{printable(name)}", f"unknown field: use one of {', '.join(known)}"
                )
            elif each is not None:
                known[name](each, f"{at}.{name}", problems)
        return document

    return parse


_FIELDS: dict[str, Parse] = {
    "name": _text(256),
    "description": _text(2000),
    "key_type": _one_of(*KEY_TYPES),
    "organization_id": _text(128, identity=True),
    "team_id": _text(128, identity=True),
    "user_id": _text(128, identity=True),
    "parent_key_id": _text(64, identity=True),
    "permissions_apply_to": _one_of("self", "subtree"),
    "environment": _environment,
    "access": _one_of(*ACCESS),
    "permissions": _object,
    "policy": _object,
    "rate_limits": _object,
    "budget_limits": _object,
    "token_limits": _object,
    "max_requests": _given,
    "budget_alerts": _fields(
        thresholds=_thresholds, notify_email=_shaped(EMAIL, "not an email address")
    ),
    "alerts": _fields(
        budget_threshold=_thresholds,
        rate_limit_percentage=_whole(100),
        failed_auth_threshold=_whole(_MOST_FAILURES),
        unusual_patterns=_flag,
    ),
    "ip_allowlist": _object,
    "webhooks": _fields(
        enabled=_flag,
        url=_shaped(URL, "not a URL: use `https://host/path`"),
        events=_events,
        secret=_secret,
    ),
    "metadata": _metadata,
    "expires_at": _instant,
}
