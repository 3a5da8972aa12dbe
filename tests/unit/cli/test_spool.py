"""`pdp spool status` beside a data plane that goes on."""

from pathlib import Path

import pytest

from pdp.cli import spool
from pdp.settings import Settings
from tests.unit.spool.desk import fill, held, opened


async def test_a_spool_that_grows_while_it_is_looked_at_is_no_old_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path)
    fill(journal, [held(0), held(1)])

    async def ledger_has(settings: Settings, spool_id: str) -> int:
        """Take all that there is, and another one, as a ledger does that is kept busy."""
        journal.append(held(2))
        return 3

    monkeypatch.setattr(spool, "_ledger_has", ledger_has)
    told = await spool._both(Settings(data_dir=tmp_path.parent), tmp_path)
    assert (told["pairing"], told["unshipped"]) == ("paired", 0)
    journal.close()
