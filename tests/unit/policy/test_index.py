"""What a shelf has found is remembered, within bounds."""

import pytest

from pdp.policy.chain import Attributes
from tests.wire.harness import Keys, record


def test_the_memory_of_a_shelf_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdp.policy.index._MOST_REMEMBERED", 2)
    statement = {"effect": "Allow", "actions": ["*"], "resources": ["model:a*"]}
    policy = {"version": "2024-01-01", "statements": [statement]}
    key = Keys(record("leaf", policy=policy)).lookup("leaf")
    assert key is not None
    for _ in range(2):
        for model in ("a1", "a1", "a2", "b1", "a3"):
            asked = Attributes("chat:completions", model, "openai", "", None, {}, 0)
            found = key.chain.evaluate(asked, lambda *_: 0)
            assert found.allowed is model.startswith("a")
