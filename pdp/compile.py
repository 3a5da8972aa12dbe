"""From what the control plane sends to what the hot path uses."""

from weakref import WeakValueDictionary

import msgspec

from pdp.key import CompiledKey, Node
from pdp.model import KeyRecord, Moved, Resolved
from pdp.policy.chain import build_chain
from pdp.policy.node import compile_node
from pdp.problems import Problems
from pdp.quota.calendar import Calendar
from pdp.quota.compile import compile_scope
from pdp.quota.plan import plan_of
from pdp.quota.windows import ChainWindows


class Compiler:
    """Compiles keys; an ancestor is compiled once while any key below it is in use."""

    def __init__(self) -> None:
        self._nodes: WeakValueDictionary[tuple[str, int, Calendar], Node] = WeakValueDictionary()
        self._calendars: dict[tuple[str, Moved | None], Calendar] = {}

    def compile(self, resolved: Resolved) -> CompiledKey:
        """Return the key ready to decide.

        Raises `InvalidDocument` when a document of its chains does not parse
        here, which only happens when the control plane is of another version.
        """
        problems, calendar = Problems(), self._calendar(resolved)
        records = {record.id: record for record in resolved.records}
        nodes = {record.id: self._node(record, calendar, problems) for record in resolved.records}
        problems.raise_if_any()
        leaf = records[resolved.key_id]
        return CompiledKey(
            record=_bare(leaf),
            chain=build_chain(
                [nodes[key_id].policy for key_id in resolved.parents],
                [nodes[key_id].policy for key_id in resolved.granters],
            ),
            plan=plan_of([nodes[key_id].scope for key_id in resolved.parents]),
            scope_of={key_id: node.scope for key_id, node in nodes.items()},
            ancestors=resolved.parents,
            windows=ChainWindows(resolved.parents, calendar),
            nodes=tuple(nodes.values()),
            metadata=leaf.metadata or {},
            revision_text=str(resolved.revision),
            alive_until=_alive_until(leaf, resolved),
        )

    def _node(self, record: KeyRecord, calendar: Calendar, problems: Problems) -> Node:
        identity = (record.id, record.version, calendar)
        node = self._nodes.get(identity)
        if node is None:
            faults = len(problems)
            node = Node(
                compile_node(record, problems),
                compile_scope(record, calendar, problems),
            )
            # One with faults lacks what could not be read, and may live on in a traceback.
            if len(problems) == faults:
                self._nodes[identity] = node
        return node

    def _calendar(self, resolved: Resolved) -> Calendar:
        zone = resolved.timezone, resolved.moved
        calendar = self._calendars.get(zone)
        if calendar is None:
            calendar = self._calendars[zone] = Calendar(*zone)
        return calendar


def _bare(record: KeyRecord) -> KeyRecord:
    """Return a key without its documents: compiled, they are not needed, and are most of it."""
    return msgspec.structs.replace(
        record,
        permissions=None,
        policy=None,
        rate_limits=None,
        budget_limits=None,
        token_limits=None,
        max_requests=None,
        ip_allowlist=None,
        metadata=None,
    )


def _alive_until(leaf: KeyRecord, resolved: Resolved) -> int:
    if resolved.secret_revoked:
        return 0
    ends = (leaf.expires_at, resolved.secret_expires_at)
    return min((end for end in ends if end is not None), default=_NEVER)


_NEVER = 2**63
