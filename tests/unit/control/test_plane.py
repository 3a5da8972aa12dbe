"""The control plane as the commands get it."""

from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.pretty import pprint

from pdp.control.initialize import initialize
from pdp.control.plane import open_control
from pdp.hidden import Hidden
from pdp.settings import Settings
from tests.unit.control.desk import NOON


async def test_no_secret_is_in_what_its_parts_say_of_themselves(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, key_pepper=Hidden("the pepper of this test, and of no other")
    )
    async with open_control(settings) as plane:
        made = await initialize(plane.database, plane.pepper, NOON, "org", "", "UTC")
    pretty = StringIO()
    for each in (plane, made):
        pprint(each, console=Console(file=pretty))
    said = f"{plane!r} {made!r} {plane} {made} {pretty.getvalue()}"
    assert made.api_key not in said
    assert repr(plane.pepper)[2:-1] not in said
    assert str(tmp_path / "pdp.db") in said.replace("\n", "")
    assert made.key_id in said
