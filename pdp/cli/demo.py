"""`pdp demo`: see it work."""

import signal
import time
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from pdp.errors import StartRefused


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End when the steps are over; status 0 if all passed.")
    ] = False,
) -> None:
    """Start a PDP, a real Envoy and a stand-in provider, and play with them."""
    try:
        from pdp.demo.play import Player, cast, settled
    except ModuleNotFoundError as error:
        raise StartRefused(
            f"{error.name} is not installed: pip install 'visca-pdp[demo]'"
        ) from error
    from pdp.demo.show import show_spend, show_steps, show_where
    from pdp.demo.stage import Stage

    signal.signal(signal.SIGTERM, _interrupt)
    console = Console()
    console.print("starting a PDP, an Envoy and a stand-in provider ...", style="dim")
    with Stage() as stage:
        keys = cast(stage)
        steps = []
        for step in Player(stage, keys).play():
            steps.append(step)
            console.print(f"  {'ok' if step.passed else 'NOT OK'}  {step.title}", style="dim")
        show_steps(console, steps, settled(stage, steps))
        show_spend(console, stage.pdp("usage")["usage"])
        failed = [step.title for step in steps if not step.passed]
        if failed:
            raise StartRefused(f"not as it should be: {'; '.join(failed)}")
        if not once:
            show_where(console, stage, keys.eager["id"])
            _wait(console, stage.fallen)


def _wait(console: Console, fallen: Callable[[], str]) -> None:
    console.print("\nrunning until Ctrl-C", style="dim")
    try:
        while not (name := fallen()):
            time.sleep(0.5)
    except KeyboardInterrupt:
        console.print("stopping", style="dim")
        return
    raise StartRefused(f"{name} has ended")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
