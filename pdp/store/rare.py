"""A hint to the planner, for databases that plan without statistics."""

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class rare(FunctionElement[bool]):  # noqa: N801  It reads as a function of SQL.
    """A condition that few rows meet, as the caller knows.

    SQLite takes any two indices for about as good; PostgreSQL knows better.
    """

    name = "rare"
    inherit_cache = True


@compiles(rare)
def _plain(element: rare, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(rare, "sqlite")
def _hinted(element: rare, compiler: SQLCompiler, **options: Any) -> str:
    return f"unlikely({compiler.process(element.clauses, **options)})"
