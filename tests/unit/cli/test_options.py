"""The commands and options that scripts rely on: written out here, and changed for nobody."""

import pytest

from tests.unit.cli.conftest import Pdp

COMMANDS: dict[str, tuple[str, ...]] = {
    "init": ("--json",),
    "serve": ("--plane",),
    "keys create": ("--file", "--json"),
    "keys list": ("--json",),
    "keys get": ("--json",),
    "keys update": ("--file", "--json"),
    "keys rotate": ("--json",),
    "keys revoke": ("--cascade", "--json"),
    "policy check": ("--json",),
    "policy test": ("--json",),
    "check": ("--json",),
    "usage": ("--json",),
    "audit": ("--json", "--limit"),
    "migrate": (),
    "demo": ("--once",),
}


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_command_has_the_options_of_the_contract(pdp: Pdp, command: str) -> None:
    done = pdp(*command.split(), "--help")
    assert done.status == 0
    assert f"pdp {command} " in done.out
    for option in COMMANDS[command]:
        assert f"{option} " in done.out
