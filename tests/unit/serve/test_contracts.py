"""The import contracts name modules one by one: none may be forgotten."""

import tomllib
from pathlib import Path

import pdp.serve

CONTROL = {"pdp.serve.control_plane", "pdp.serve.control_service"}


def test_every_module_of_serve_is_either_planes() -> None:
    folder = Path(pdp.serve.__file__).parent
    settings = tomllib.loads((folder.parents[1] / "pyproject.toml").read_text())
    (contract,) = [
        each
        for each in settings["tool"]["importlinter"]["contracts"]
        if each["name"] == "the data plane has no SQL"
    ]
    found = {f"pdp.serve.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__"}
    assert found - CONTROL <= set(contract["source_modules"])
