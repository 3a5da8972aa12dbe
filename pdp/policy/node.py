"""One key's guards and prohibitions, compiled once and shared by the chains of all keys below."""

from typing import Final

from msgspec import Struct

from pdp.model import KeyRecord
from pdp.policy import denial
from pdp.policy.allowlist import Allowlist, parse_ip_allowlist
from pdp.policy.attributes import Attributes, SpendOf
from pdp.policy.document import Policy, parse_policy
from pdp.policy.evaluation import Evaluation
from pdp.policy.glob import GlobTable, table_of
from pdp.policy.index import Shelf, StatementIndex, expand_action
from pdp.policy.permissions import Permissions, parse_permissions
from pdp.policy.statement import CompiledStatement, compile_statement
from pdp.problems import Problems
from pdp.quota.hold import BudgetGuard
from pdp.wording import named

_READ_ONLY: Final = frozenset({"models:list", "usage:read"})


class PolicyNode(Struct, frozen=True):
    """What one key demands. None means that there is no such demand.

    `owner` is the key for messages; `actions` is what `access` and
    `permissions.actions` leave; `allows` and `denies` are the two halves of the
    policy. `binds_subtree`: the guards bind the keys below as well.
    """

    key_id: str
    owner: str
    binds_subtree: bool
    read_only: bool
    permissions: Permissions
    allowlist: Allowlist | None = None
    denies: StatementIndex | None = None
    actions: frozenset[str] | None = None
    models: GlobTable[bool] | None = None
    providers: GlobTable[bool] | None = None
    allows: StatementIndex | None = None

    @property
    def has_guards(self) -> bool:
        """Tell whether there is any guard to ask."""
        guards = (self.actions, self.models, self.providers, self.allows)
        return any(guard is not None for guard in guards)

    def guard(
        self,
        request: Attributes,
        names: tuple[str, str] | None,
        spend_of: SpendOf,
        relied_on: list[BudgetGuard],
    ) -> CompiledStatement | Evaluation | None:
        """Ask every guard; return the Allow that matched (None without policy), or a denial.

        `names` are model and provider, None for an action without. Asked in the
        order of the reasons: action, then model, then condition.
        """
        action = request.action
        if self.actions is not None and action not in self.actions:
            return self._refuse_action(action)
        shelf = None
        if self.allows is not None:
            shelf = self.allows.shelf(action)
            if shelf is None:
                return denial.no_allow_of_action(self.owner, action)
        if names is not None:
            if self.models is not None and not self.models.has(names[0]):
                allowed = self.permissions.models or ()
                return denial.not_permitted("model", names[0], allowed, self.owner)
            if self.providers is not None and not self.providers.has(names[1]):
                allowed = self.permissions.providers or ()
                return denial.not_permitted("provider", names[1], allowed, self.owner)
        if shelf is None:
            return None
        return self._by_policy(shelf, request, names, spend_of, relied_on)

    def _refuse_action(self, action: str) -> Evaluation:
        if self.read_only and action not in _READ_ONLY:
            return denial.read_only(self.owner, action)
        return denial.not_permitted("action", action, self.permissions.actions or (), self.owner)

    def _by_policy(
        self,
        shelf: Shelf,
        request: Attributes,
        names: tuple[str, str] | None,
        spend_of: SpendOf,
        relied_on: list[BudgetGuard],
    ) -> CompiledStatement | Evaluation:
        near: list[CompiledStatement] = []
        for statement in shelf.find(names):
            if statement.holds(request, spend_of, relied_on):
                return statement
            near.append(statement)
        if near:
            return denial.condition_not_met(self.owner, near, request, relied_on)
        return denial.no_allow_of_resource(self.owner, request)

    def denied(
        self,
        request: Attributes,
        names: tuple[str, str] | None,
        spend_of: SpendOf,
        relied_on: list[BudgetGuard],
    ) -> Evaluation | None:
        """Return the denial of the first Deny that matches; `names` are folded."""
        shelf = self.denies.shelf(request.action) if self.denies else None
        if shelf is None:
            return None
        for statement in shelf.find(names):
            found: list[BudgetGuard] = []
            if statement.holds(request, spend_of, found):
                return denial.policy_denied(self.owner, statement, request, found)
            relied_on += found
        return None


def compile_node(record: KeyRecord, problems: Problems) -> PolicyNode:
    """Return the node of a key; of a record with `problems`, one that allows nothing."""
    before = len(problems)
    allowlist, policy = None, None
    permissions = Permissions()
    if record.ip_allowlist is not None:
        allowlist = parse_ip_allowlist(record.ip_allowlist, "ip_allowlist", problems)
    if record.permissions is not None:
        permissions = parse_permissions(record.permissions, "permissions", problems) or permissions
    if record.policy is not None:
        policy = parse_policy(record.policy, "policy", problems)
    if len(problems) > before:
        policy = Policy(())
    allows, denies = (None, None) if policy is None else _halves(policy, record.id)
    return PolicyNode(
        key_id=record.id,
        owner=named(record.name, record.id),
        binds_subtree=record.permissions_apply_to == "subtree",
        read_only=record.access == "read_only",
        permissions=permissions,
        allowlist=allowlist if allowlist and allowlist.enabled else None,
        denies=denies,
        actions=_actions(record, permissions),
        models=None if permissions.models is None else table_of(permissions.models),
        providers=None if permissions.providers is None else table_of(permissions.providers),
        allows=allows,
    )


def _halves(policy: Policy, key_id: str) -> tuple[StatementIndex, StatementIndex | None]:
    statements = [
        (source, compile_statement(source, index, key_id))
        for index, source in enumerate(policy.statements)
    ]
    allows = [each for each in statements if not each[1].is_deny]
    denies = [each for each in statements if each[1].is_deny]
    return (
        StatementIndex(allows, fold=False),
        StatementIndex(denies, fold=True) if denies else None,
    )


def _actions(record: KeyRecord, permissions: Permissions) -> frozenset[str] | None:
    allowed = None
    if permissions.actions is not None:
        allowed = frozenset[str]().union(*map(expand_action, permissions.actions))
    if record.access == "read_only":
        allowed = _READ_ONLY if allowed is None else allowed & _READ_ONLY
    return allowed
