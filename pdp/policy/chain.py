"""The guards and prohibitions that apply to one key, gathered from both its chains."""

from collections.abc import Sequence

from pdp.actions import ACTIONS
from pdp.policy import denial
from pdp.policy.attributes import Attributes, SpendOf
from pdp.policy.evaluation import ALLOWED, Evaluation
from pdp.policy.node import PolicyNode
from pdp.quota.hold import BudgetGuard

__all__ = ["Attributes", "Chain", "Evaluation", "SpendOf", "build_chain"]


class Chain:
    """Compiled guards of one key: see docs/policy.md for the rules. Immutable.

    Of each chain only the keys that have something to say are kept.
    """

    __slots__ = ("_deniers", "_guards", "_listers")

    def __init__(
        self,
        parents: Sequence[PolicyNode],
        deniers: Sequence[PolicyNode],
        guards: Sequence[PolicyNode],
    ) -> None:
        self._listers = tuple(
            (node.allowlist, node.owner) for node in parents if node.allowlist is not None
        )
        self._deniers = tuple(node for node in deniers if node.denies is not None)
        self._guards = tuple(node for node in guards if node.has_guards)

    def evaluate(self, request: Attributes, spend_of: SpendOf) -> Evaluation:
        """Decide, in the reason order of the design; pure but for `spend_of`."""
        action = ACTIONS.get(request.action)
        if action is None:
            return denial.unknown_action(request.action)
        if self._listers:
            strange = self.address_fault(request.client_ip)
            if strange is not None:
                return strange
        names = (request.model, request.provider) if action.model_bearing else None
        relied_on: list[BudgetGuard] = []
        if self._deniers:
            denied = self._denied(request, names, spend_of, relied_on)
            if denied is not None:
                return denied
        return self._guarded(request, names, spend_of, relied_on)

    def address_fault(self, client_ip: str) -> Evaluation | None:
        """Return the denial by an IP allowlist of the parents, None where all admit a client."""
        for allowlist, owner in self._listers:
            if not allowlist.admits(client_ip):
                return denial.ip_not_allowed(owner, client_ip)
        return None

    def _denied(
        self,
        request: Attributes,
        names: tuple[str, str] | None,
        spend_of: SpendOf,
        relied_on: list[BudgetGuard],
    ) -> Evaluation | None:
        folded = names and (names[0].casefold(), names[1].casefold())
        for node in self._deniers:
            denied = node.denied(request, folded, spend_of, relied_on)
            if denied is not None:
                return denied
        return None

    def _guarded(
        self,
        request: Attributes,
        names: tuple[str, str] | None,
        spend_of: SpendOf,
        relied_on: list[BudgetGuard],
    ) -> Evaluation:
        label = ""
        for node in self._guards:
            # A denial rests on the comparisons of this key alone.
            found: list[BudgetGuard] = []
            answer = node.guard(request, names, spend_of, found)
            if answer is None:
                continue
            if isinstance(answer, Evaluation):
                return answer
            label = label or answer.label
            relied_on += found
        if not label and not relied_on:
            return ALLOWED
        return Evaluation(True, "ok", "", label, tuple(dict.fromkeys(relied_on)))


def build_chain(parents: Sequence[PolicyNode], granters: Sequence[PolicyNode]) -> Chain:
    """Return the chain of the key that is first in both; each goes from it up to the root.

    Prohibitions are those of the parents and then of the granters: what a Deny takes
    from a key, that key cannot give. Guards are those of the granters and then of the
    parents that bind their subtree. Each key once and leaf first.
    """
    granting = {node.key_id for node in granters}
    above = {node.key_id for node in parents}
    binding = [node for node in parents if node.binds_subtree and node.key_id not in granting]
    others = [node for node in granters if node.key_id not in above]
    return Chain(parents, [*parents, *others], [*granters, *binding])
