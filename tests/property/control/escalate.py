"""The long search for escalations: `python -m tests.property.control.escalate [EXAMPLES]`.

Plays that many examples, then looks for a way to gain by each check that is taken out: what
it does not find there, it would not have found before either.
"""

import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.property.control.thief import Play, playing, sequences, worlds
from tests.property.control.weakness import WEAKNESSES, weaken
from tests.store import SqliteStore

_EXAMPLES = 2000


def search(play: Play, examples: int) -> None:
    """Play examples. Raises `AssertionError` for one that gains something."""
    thorough = settings(
        max_examples=examples,
        deadline=None,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    thorough(given(worlds(), sequences())(play))()


def finds(play: Play, weakness: str, examples: int) -> bool:
    """Tell whether the search notices a check that is taken out."""
    with pytest.MonkeyPatch.context() as patch:
        weaken(weakness, patch)
        try:
            search(play, examples)
        except AssertionError:
            return True
    return False


def main() -> int:
    """Search; return the exit status."""
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else _EXAMPLES
    missed = 0
    with tempfile.TemporaryDirectory() as folder, playing(SqliteStore(Path(folder))) as play:
        search(play, examples)
        sys.stdout.write(f"nothing gained in {examples:,} examples\n")
        for weakness in WEAKNESSES:
            found = finds(play, weakness, examples)
            sys.stdout.write(f"{'noticed' if found else 'MISSED '}  {weakness}\n")
            missed += not found
    return missed


if __name__ == "__main__":
    sys.exit(main())
