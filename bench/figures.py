"""Figures of one run: several rounds of several things, with their spread and ratios."""

import argparse
import json
import statistics
from pathlib import Path


class Figures:
    """Values by title, a value a round, and notes (what it cost) beside them."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.rounds: dict[str, list[float]] = {}
        self.notes: dict[str, dict[str, list[float]]] = {}

    def add(self, title: str, value: float) -> None:
        """Note a round."""
        self.rounds.setdefault(title, []).append(value)

    def note(self, title: str, what: str, value: float) -> None:
        """Note something else of a round."""
        self.notes.setdefault(title, {}).setdefault(what, []).append(value)

    def median(self, title: str) -> float:
        """Return the middle of the rounds."""
        return statistics.median(self.rounds[title])

    def show(self, base: str, only: str = "") -> None:
        """Print each title that ends with `only`: the spread, and the ratio to `base`."""
        for title, values in self.rounds.items():
            if not title.endswith(only):
                continue
            notes = ", ".join(
                f"{statistics.median(found):.0f} {what}"
                for what, found in self.notes.get(title, {}).items()
            )
            print(
                f"{title:32} {self.median(title):10.1f} {self.unit} "
                f"({min(values):.1f}-{max(values):.1f})  "
                f"{self.median(title) / self.median(base):6.2f} of {base}  {notes}",
                flush=True,
            )

    def save(self, path: Path | None, name: str) -> None:
        """Add all of it to a JSON file, under `name`."""
        if path is None:
            return
        kept = json.loads(path.read_text()) if path.exists() else {}
        kept[name] = {"unit": self.unit, "rounds": self.rounds, "notes": self.notes}
        path.write_text(json.dumps(kept, indent=1) + "\n")


def options(seconds: int = 3, rounds: int = 3) -> argparse.Namespace:
    """Return the options that every benchmark takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=seconds, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=rounds, help="interleaved")
    parser.add_argument("--out", type=Path, help="JSON file that the figures are added to")
    return parser.parse_args()
