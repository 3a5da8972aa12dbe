"""A key ready to decide: everything that can be computed beforehand, is.

`Compiler` (pdp/compile.py) makes it from a `Resolved`.
"""

from msgspec import Struct

from pdp.model import KeyRecord
from pdp.policy.chain import Chain
from pdp.policy.node import PolicyNode
from pdp.quota.plan import Plan
from pdp.quota.scope import Scope
from pdp.quota.windows import ChainWindows


class Node(Struct, frozen=True, weakref=True):
    """One key of a chain, compiled once and shared by every key below it."""

    policy: PolicyNode
    scope: Scope


class CompiledKey(Struct, frozen=True):
    """One secret of one key with its chains, compiled.

    `record` is the key without its documents. `chain` decides what it may do, `plan` how
    much; `scope_of` has the scopes of both chains by key id, for budget conditions.
    `ancestors` are the ids of the scopes of `plan`, `windows` what they count in. `nodes`
    keeps the compiled ancestors alive, which `Compiler` shares by weak references.
    `alive_until` (ns) is when the key or its secret ends, whichever is first;
    `revision_text` is the change number it was read at.
    """

    record: KeyRecord
    chain: Chain
    plan: Plan
    scope_of: dict[str, Scope]
    ancestors: tuple[str, ...]
    windows: ChainWindows
    nodes: tuple[Node, ...]
    metadata: dict[str, str]
    revision_text: str
    alive_until: int
