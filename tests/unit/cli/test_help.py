"""What `--help` says: every option and argument is told, settings by their variable."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from pdp.cli.commands import app
from pdp.settings import Settings
from tests.unit.cli.conftest import Pdp

_ALSO_VARIABLES = {"--server": "PDP_GRPC_LISTEN", "--tls-name": "PDP_CHECK_TLS_NAME"}


def _parameters() -> Iterator[tuple[str, str, str]]:
    def below(name: str, command: Any) -> Iterator[tuple[str, str, str]]:
        if hasattr(command, "commands"):
            for word, each in command.commands.items():
                yield from below(f"{name} {word}".strip(), each)
            return
        for each in command.params:
            yield name, each.opts[-1], str(getattr(each, "help", None) or "")

    return below("", typer.main.get_command(app))


PARAMETERS = tuple(_parameters())


def test_every_option_and_argument_says_what_it_is() -> None:
    assert len(PARAMETERS) > 100
    assert [(name, option) for name, option, text in PARAMETERS if not text] == []


def test_an_option_that_is_a_setting_names_its_variable_and_default() -> None:
    told = {option: text for name, option, text in PARAMETERS if name == "serve"}
    del told["--plane"]
    for option, text in told.items():
        field = option.removeprefix("--").replace("-", "_")
        assert f"[PDP_{field.upper()}" in text
        default = getattr(Settings(), field)
        assert default is None or f"; default: {default}]" in text
    told = {option: text for name, option, text in PARAMETERS if name == "check"}
    for option, variable in _ALSO_VARIABLES.items():
        assert f"[{variable}; default: " in told[option]


@pytest.mark.parametrize("command", ["keys list", "audit", "usage", "init", "migrate"])
def test_commands_on_the_database_say_where_it_is(pdp: Pdp, command: str) -> None:
    assert "PDP_DATABASE_URL" in pdp(*command.split(), "--help").out
