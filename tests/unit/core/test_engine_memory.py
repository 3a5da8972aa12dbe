"""What the engine keeps of a request that is over: nothing, also before the collector looks."""

import asyncio
import gc
import weakref
from typing import Any

from msgspec.structs import replace

from pdp.errors import Unavailable
from pdp.model import Decision
from tests.unit.core.test_engine_waiting import LEAF, ask
from tests.wire.harness import Desk, Keys


class Held(dict[str, str]):
    """Metadata of which one sees that it is gone."""


async def test_a_request_whose_key_is_not_found_out_does_not_wait_for_the_collector() -> None:
    keys: Any = Keys(LEAF)
    desk, held = Desk(keys=keys), Held(app="web")
    fills: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future()]
    keys.lookup = lambda _: asyncio.shield(fills[0])
    gone, checking = weakref.ref(held), desk.engine.check(replace(ask(), metadata=held))
    assert not isinstance(checking, Decision)
    del held
    gc.disable()
    try:
        fills.pop().set_exception(Unavailable("the control plane is away"))
        assert (await checking).reason == "unavailable"
        del checking
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()
