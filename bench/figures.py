"""Figures of one run: several rounds of several things, with their spread and ratios."""

import json
import statistics
from pathlib import Path


class Figures:
    """Values by title, a value a round."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.rounds: dict[str, list[float]] = {}

    def add(self, title: str, value: float) -> None:
        """Note a round."""
        self.rounds.setdefault(title, []).append(value)

    def median(self, title: str) -> float:
        """Return the middle of the rounds."""
        return statistics.median(self.rounds[title])

    def show(self, base: str) -> None:
        """Print each with its spread and its ratio to `base`."""
        for title, values in self.rounds.items():
            ratio = self.median(title) / self.median(base)
            print(
                f"{title:40} {self.median(title):10.1f} {self.unit} "
                f"({min(values):.1f}-{max(values):.1f})  {ratio:.2f} of {base}"
            )

    def save(self, path: Path) -> None:
        """Write all of it as JSON."""
        path.write_text(json.dumps({"unit": self.unit, "rounds": self.rounds}, indent=1))
