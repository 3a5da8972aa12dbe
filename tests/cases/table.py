"""Reads the decision tables of this folder as `pdp policy test` does."""

from pathlib import Path
from typing import Any

import yaml

from pdp.control.policy_table import Case, read_table
from pdp.model import KeyRecord
from pdp.policy.chain import Attributes
from pdp.problems import Problems

FOLDER = Path(__file__).parent
_PERIODS = {"daily": "day", "monthly": "month", "total": "total"}


def load_cases(folder: Path = FOLDER) -> list[Case]:
    """Return every check of every table, in order; their names begin with file and table."""
    return [
        case
        for path in sorted(folder.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text("utf-8"))
        for case in _cases(path.stem, document)
    ]


def _cases(stem: str, document: Any) -> list[Case]:
    problems = Problems()
    found = read_table(document, stem, stem, problems, _no_file)
    problems.raise_if_any()
    return found


def _no_file(name: str, at: str, problems: Problems) -> None:
    problems.add(at, f"no files here, and no `{name}`")


def name_of(case: Case) -> str:
    """Return what tells a check from all others."""
    return f"{case.table}: {case.name}"


def attributes_of(case: Case) -> Attributes:
    """Return the request as policies see it, without any price list."""
    request = case.asked.request
    return Attributes(
        request.action,
        request.model,
        request.provider,
        request.client_ip,
        request.max_output_tokens,
        request.metadata or {},
        case.asked.at,
    )


def spend_of(case: Case) -> dict[tuple[str, str], int]:
    """Return nano-USD by (key id, period)."""
    return {
        (key_id, _PERIODS[period]): amount
        for key_id, periods in (case.asked.spend or {}).items()
        for period, amount in periods.items()
    }


def chains_of(case: Case) -> tuple[list[KeyRecord], list[KeyRecord]]:
    """Return the parents and the granters of the key that asks, each from itself up."""
    resolved = case.resolved
    records = case.sample.records
    return [records[each] for each in resolved.parents], [
        records[each] for each in resolved.granters
    ]
