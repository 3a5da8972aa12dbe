"""The commands and options that scripts rely on: written out here, and changed for nobody."""

import pytest

from tests.unit.cli.conftest import Pdp

SETTINGS = (
    *("--data-dir", "--database-url", "--redis-url", "--grpc-listen", "--http-listen"),
    *("--nginx-listen", "--ops-listen", "--control-listen", "--control-url", "--key-pepper"),
    *("--workers", "--max-staleness", "--budget-status", "--trusted-hops"),
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "init": ("--json", "--organization-id", "--data-dir", "--database-url"),
    "serve": ("--plane", *SETTINGS),
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


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        ("--workers", "x", "PDP_WORKERS: use a whole number"),
        ("--max-staleness", "soon", "PDP_MAX_STALENESS: use a number"),
        ("--budget-status", "401", "PDP_BUDGET_STATUS: use 403, 402 or 429"),
        ("--http-trusted-hops", "-1", "PDP_HTTP_TRUSTED_HOPS: use 0 or more"),
        ("--key-pepper", "short", "PDP_KEY_PEPPER: use 32 characters or more"),
    ],
)
def test_a_wrong_option_of_serve_is_a_line_that_names_the_setting(
    pdp: Pdp, option: str, text: str, words: str
) -> None:
    pdp.setting(words.partition(":")[0], "put back afterwards")
    assert pdp("serve", option, text).refusal() == f"pdp: {words}"
