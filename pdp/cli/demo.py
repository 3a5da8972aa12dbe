"""`pdp demo`."""


def demo() -> None:
    """Placeholder until the demo module is there."""
