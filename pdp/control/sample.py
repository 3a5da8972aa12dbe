"""Keys that stand in a document and nowhere else: what simulations and tables are about."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from pdp.control.key_document import parse_key_document
from pdp.cursor import Cursor
from pdp.model import KeyRecord, Resolved
from pdp.policy.daytime import is_timezone
from pdp.policy.node import compile_node
from pdp.problems import Problems
from pdp.quota.calendar import Calendar
from pdp.quota.compile import compile_scope
from pdp.store.keys import KeyRow
from pdp.wording import shown

ReadFile = Callable[[str, str, Problems], object]
"""(name, place, problems) -> what the file that is named at a place says; None with a fault."""

MOST_KEYS: Final = 100
DEFAULT_ID: Final = "key"
_STATUSES: Final = ("active", "revoked", "suspended")
_UTC: Final = Calendar("UTC")


class Sample(Struct, frozen=True):
    """Keys by id, in document order, and the timezone of their organization."""

    records: dict[str, KeyRecord]
    timezone: str = "UTC"

    @property
    def last(self) -> str:
        """The id of the key that is asked about where nothing else is said."""
        return next(reversed(self.records))

    def resolve(self, key_id: str) -> Resolved:
        """Return a key with its chains."""
        parents, granters = self._walk(key_id, "parent_key_id"), self._walk(key_id, "granted_by")
        return Resolved(
            key_id=key_id,
            parents=parents,
            granters=granters,
            records=tuple(self.records[each] for each in dict.fromkeys((*parents, *granters))),
            timezone=self.timezone,
            revision=0,
        )

    def _walk(self, key_id: str, link: str) -> tuple[str, ...]:
        chain = [key_id]
        while above := getattr(self.records[chain[-1]], link):
            chain.append(above)
        return tuple(chain)


def is_policy(body: object) -> bool:
    """Tell a policy document by itself from the body of a key, which may have one.

    With nothing in it a document is a policy that lacks everything: it is not to pass for right.
    """
    return isinstance(body, Mapping) and (not body or "statements" in body or "version" in body)


def read_record(body: object, problems: Problems, key_id: str = DEFAULT_ID) -> KeyRecord | None:
    """Return the key that a create body describes; places are those within the body.

    As creating it would read it, but for what only the database knows: its parent.
    """
    document = parse_key_document(body, problems)
    if document is None:
        return None
    named = isinstance(body, Mapping) and body.get("name")
    record = KeyRow(
        id=key_id,
        organization_id=document.organization_id,
        version=1,
        status="active",
        key_type=document.key_type,
        name=document.name if named else key_id,
        team_id=document.team_id,
        user_id=document.user_id,
        parent_key_id=document.parent_key_id,
        permissions_apply_to=document.permissions_apply_to,
        document=document.authored,
        created_at=0,
        expires_at=document.expires_at,
    ).record()
    compile_node(record, problems)
    compile_scope(record, _UTC, problems)
    return record


def read_sample(cursor: Cursor, timezone: str, read_file: ReadFile | None) -> Sample | None:
    """Read `keys`: create bodies with `id`, `granted_by` (default: the parent) and `status`.

    With `read_file` a key may name a `file` with its body or its policy, too; what the
    key says itself goes before. None: there are faults, which are noted.
    """
    problems, before = cursor.problems, len(cursor.problems)
    items = cursor.items(may_be_empty=False) or []
    if len(items) > MOST_KEYS:
        cursor.fault(f"must be at most {MOST_KEYS} keys")
        return None
    records: dict[str, KeyRecord] = {}
    for item in items:
        record = _read_key(item, read_file)
        if record is not None and record.id in records:
            problems.add(f"{item.at}.id", f"{shown(record.id)} is there twice: choose another")
        elif record is not None:
            records[record.id] = record
    if len(problems) == before:
        _check_links(records, cursor)
    return None if len(problems) > before else Sample(records, timezone)


def sample_of(record: KeyRecord, timezone: str = "UTC") -> Sample:
    """Return a sample of one key, which stands by itself."""
    alone = msgspec.structs.replace(record, parent_key_id="", granted_by="")
    return Sample({record.id: alone}, timezone)


def read_zone(cursor: Cursor) -> str:
    """Read the timezone of an organization; null is UTC."""
    if cursor.value is None:
        return "UTC"
    name = cursor.text()
    if name is None:
        return "UTC"
    if not is_timezone(name):
        cursor.fault(f"{shown(name)} is no timezone: write an IANA name like `Europe/Berlin`")
        return "UTC"
    return name


_OWN: Final = ("id", "granted_by", "status", "file")


def _read_key(cursor: Cursor, read_file: ReadFile | None) -> KeyRecord | None:
    if not isinstance(cursor.value, dict):
        cursor.expected("an object")
        return None
    problems = cursor.problems
    own = {
        name: Cursor(cursor.value[name], f"{cursor.at}.{name}", problems)
        for name in (_OWN if read_file else _OWN[:-1])
        if cursor.value.get(name) is not None
    }
    key_id = own["id"].pattern() if "id" in own else DEFAULT_ID
    granted_by = own["granted_by"].text() if "granted_by" in own else None
    status = own["status"].one_of(_STATUSES) if "status" in own else "active"
    body = {name: value for name, value in cursor.value.items() if name not in own}
    if "file" in own and read_file is not None:
        body = {**_body_of_file(own["file"], read_file), **body}
    record = read_within(body, cursor.at, problems, key_id or DEFAULT_ID)
    if record is None or key_id is None or status is None:
        return None
    return msgspec.structs.replace(
        record,
        granted_by=record.parent_key_id if granted_by is None else granted_by,
        status=status,
    )


def _body_of_file(cursor: Cursor, read_file: ReadFile) -> dict[str, Any]:
    name = cursor.text()
    found = None if name is None else read_file(name, cursor.at, cursor.problems)
    if isinstance(found, dict):
        return {"policy": found} if is_policy(found) else found
    if found is not None:
        cursor.fault(f"{shown(name or '')} has no policy and no key: it is no object")
    return {}


def read_within(
    body: object, at: str, problems: Problems, key_id: str = DEFAULT_ID
) -> KeyRecord | None:
    """Do as `read_record`, with places that begin with `at`."""
    found = Problems()
    record = read_record(body, found, key_id)
    for problem in found:
        place = at if problem.location == "body" else f"{at}.{problem.location}"
        problems.add(place, problem.message)
    return record


def _check_links(records: Mapping[str, KeyRecord], cursor: Cursor) -> None:
    """Note what leads nowhere, or around; keys stand in the document from `cursor` on."""
    for index, record in enumerate(records.values()):
        links = {"parent_key_id": record.parent_key_id, "granted_by": record.granted_by}
        if record.granted_by == record.parent_key_id:
            del links["granted_by"]  # Mostly it is not written.
        for link, above in links.items():
            place = f"{cursor.at}[{index}].{link}"
            if above and above not in records:
                cursor.problems.add(place, f"there is no key {shown(above)} among these")
            elif above and _leads_around(records, record.id, link):
                message = f"leads back to {shown(record.id)}: let it end at a root"
                cursor.problems.add(place, message)


def _leads_around(records: Mapping[str, KeyRecord], key_id: str, link: str) -> bool:
    seen, at = set(), key_id
    while at in records and at not in seen:
        seen.add(at)
        at = getattr(records[at], link)
    return at == key_id
