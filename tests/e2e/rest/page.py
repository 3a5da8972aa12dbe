"""The code blocks of a Markdown page."""

import re
from pathlib import Path

SEED = Path(__file__).parent / "seed.md"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)


def blocks(page: Path, language: str) -> dict[str, str]:
    """Return the block of each section that has one of a language."""
    parts = _SECTION.split(page.read_text())
    found = {}
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        for kind, text in _BLOCK.findall(body):
            if kind == language:
                found[title] = text
    return found
