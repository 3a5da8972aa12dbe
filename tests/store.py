"""Databases for tests, of every kind that the control plane works with."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Protocol

from pdp.store.sqlite import default_url
from tests.postgres import Postgres
from tests.unit.control.desk import opened_desk


class Store(Protocol):
    """Makes databases of one kind; each is gone with its context."""

    kind: str

    def empty(self) -> AbstractAsyncContextManager[str]:
        """Give the address of a database without a schema."""
        ...

    def initialized(self) -> AbstractAsyncContextManager[str]:
        """Give the address of one with the organization of a desk."""
        ...


class SqliteStore:
    """Files in folders of their own."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self._template: Path | None = None

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """Give a new file."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        yield default_url(folder)
        shutil.rmtree(folder)

    @asynccontextmanager
    async def initialized(self) -> AsyncIterator[str]:
        """Give a copy of a file."""
        if self._template is None:
            template = self._folder / "template"
            template.mkdir()
            async with opened_desk(default_url(template)):
                pass
            self._template = template / "pdp.db"
        async with self.empty() as url:
            shutil.copy(self._template, self._folder / str(Path(url).parent.name))
            yield url


class PostgresStore:
    """Databases of one server."""

    kind = "postgresql"

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._numbers = count()
        self._template = ""

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """Give a new database."""
        async with self._copy("template1") as url:
            yield url

    @asynccontextmanager
    async def initialized(self) -> AsyncIterator[str]:
        """Give a copy of a database."""
        if not self._template:
            await self._server.make("desk")
            async with opened_desk(self._server.local_url("desk")):
                pass
            self._template = "desk"
        async with self._copy(self._template) as url:
            yield url

    @asynccontextmanager
    async def _copy(self, template: str) -> AsyncIterator[str]:
        name = f"test{next(self._numbers)}"
        await self._server.make(name, template)
        yield self._server.local_url(name)
        await self._server.drop(name)
