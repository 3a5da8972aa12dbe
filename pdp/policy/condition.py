"""A statement's condition: its operators, all of which must hold."""

from typing import Final

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.policy.budget import Budget
from pdp.policy.names import NameList
from pdp.policy.operators import OPERATORS, Test


class Condition(Struct, frozen=True):
    """What must hold, by the way it is asked.

    Budgets stand apart because they ask the counters, hence last.
    """

    names: tuple[NameList, ...] = ()
    tests: tuple[Test, ...] = ()
    budgets: tuple[Budget, ...] = ()


ALWAYS: Final = Condition()


def read_condition(cursor: Cursor, *, plain_lists: bool) -> Condition:
    """Read a condition, as far as it is without fault.

    `plain_lists` False: the statement is not about one resource type, so
    `in: [...]` would not say whose name it means.
    """
    names: list[NameList] = []
    tests: list[Test] = []
    budgets: list[Budget] = []
    fields = cursor.fields(OPERATORS, noun="operator") or {}
    for name, value in fields.items():
        for part in OPERATORS[name].read(value):
            if isinstance(part, Budget):
                budgets.append(part)
            elif isinstance(part, NameList):
                names.append(part)
                if part.of is None and not plain_lists:
                    value.fault(
                        "a plain list needs resources of one type, all `model:` or all "
                        '`provider:`: write {"model": [...]} or {"provider": [...]}'
                    )
            else:
                tests.append(part)
    return Condition(tuple(names), tuple(tests), tuple(budgets))
