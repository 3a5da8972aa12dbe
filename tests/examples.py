"""How much Hypothesis tries: in the suite little, and always the same; `make properties`: more."""

import os
from typing import Final

from hypothesis import HealthCheck, settings

TIMES: Final = int(os.environ.get("PDP_TEST_EXAMPLES", "1"))
"""How many times the examples of the suite; beyond 1 they are others each time."""


def tries(examples: int, steps: int = 50) -> settings:
    """Return settings for so many examples, of so many steps each where there are any."""
    return settings(max_examples=examples * TIMES, stateful_step_count=steps)


def load_profile() -> None:
    """Set what holds where a test says nothing."""
    settings.register_profile(
        "suite",
        max_examples=60 * TIMES,
        derandomize=TIMES == 1,
        database=None,
        # Time is no property of the code: a busy machine must not fail a test.
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("suite")
