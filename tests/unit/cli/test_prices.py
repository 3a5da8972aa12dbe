"""`pdp prices`: set, list, show, remove."""

import json
from typing import Any

import pytest

from tests.unit.cli.conftest import Pdp

pytestmark = pytest.mark.usefixtures("root")


def put(pdp: Pdp, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = pdp("prices", "set", *words, "--json").json()
    return found


def test_a_price_is_set_shown_and_removed(pdp: Pdp) -> None:
    made = put(pdp, "openai", "gpt-4o*", "--prompt", "2", "--completion", "8.5")
    assert (made["prompt"], made["completion"], made["status"]) == ("2", "8.5", "current")
    shown = pdp("prices", "show", "gpt-4o", "--json").json()
    assert (shown["source"], shown["matched"], shown["price_id"]) == (
        "override",
        "gpt-4o*",
        made["id"],
    )
    assert shown["price"]["cached"] == "2"
    table = pdp("prices", "show", "gpt-4o")
    assert "override" in table.out
    assert made["id"] in table.out
    assert made["id"] in pdp("prices", "list").out
    assert pdp("prices", "remove", made["id"]).out == f"{made['id']} is removed\n"
    assert pdp("prices", "show", "gpt-4o", "--json").json()["source"] == "built_in"
    listed = pdp("prices", "list", "--status", "removed", "--json").json()
    assert [each["id"] for each in listed["prices"]] == [made["id"]]


def test_a_price_to_come_is_told_with_its_time(pdp: Pdp) -> None:
    put(pdp, "openai", "gpt-4o", "--per-request", "1", "--from", "2100-01-01T00:00:00Z")
    shown = pdp("prices", "show", "gpt-4o", "--json").json()
    assert (shown["source"], shown["changes_at"]) == ("built_in", "2100-01-01T00:00:00Z")
    assert "2100-01-01T00:00:00Z" in pdp("prices", "show", "gpt-4o").out


def test_a_file_says_what_options_do_not(pdp: Pdp) -> None:
    body = {"provider": "x", "model": "m", "prompt": 1, "completion": 1, "output_audio": "64"}
    told = pdp("prices", "set", "-f", "-", "--json", stdin=json.dumps(body).encode())
    assert told.json()["output_audio"] == "64"
    unknown = pdp("prices", "show", "nobody-knows")
    assert unknown.status == 0
    assert "none: the price is unknown" in unknown.out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("set", "openai", "gpt-4o"), "prompt: needed"),
        (("set", "openai", "gpt-4o", "--prompt", "x", "--completion", "1"), "prompt: not a price"),
        (("set", "openai", "gpt-4o", "--prompt=1"), "completion: needed where tokens are paid for"),
        (("set", "openai", "gpt-4o", "--prompt=-1", "--completion=1"), "prompt: not between 0"),
        (("set", "openai", "gpt-4o", "--per-image", "1", "--from", "now"), "effective_from: "),
        (("remove", "price_none"), "there is no price with such an id"),
        (("list", "--status", "old"), "--status: use one of current"),
    ],
)
def test_a_fault_is_told_in_a_line(pdp: Pdp, words: tuple[str, ...], fault: str) -> None:
    assert fault in pdp("prices", *words).refusal()


def test_a_price_without_a_model_says_that_it_needs_one(pdp: Pdp, root: dict[str, str]) -> None:
    done = pdp("prices", "set", "openai", "--per-request", "1")
    assert done.refusal() == "pdp: model: is required: name it as requests do"
