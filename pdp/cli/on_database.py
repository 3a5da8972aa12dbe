"""Where the database of a command is, as options in place of the variables."""

import inspect
import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from pdp.cli.serve_options import DatabaseUrl, DataDir
from pdp.settings import PREFIX

Command = Callable[..., None]

_PLACES = {"data_dir": DataDir, "database_url": DatabaseUrl}


def on_database(command: Command) -> Command:
    """Return a command that takes `--data-dir` and `--database-url`, too, as `pdp serve` does."""

    @wraps(command)
    def there(**given: Any) -> None:
        for name in _PLACES:
            value = given.pop(name)
            if value is not None:
                os.environ[f"{PREFIX}{name.upper()}"] = value
        command(**given)

    signature = inspect.signature(command)
    places = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _PLACES.items()
    ]
    # What typer makes options of: the command's own parameters, and these.
    there.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *places]
    )
    there.__annotations__ = {**command.__annotations__, **_PLACES}
    return there
