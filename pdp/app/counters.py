"""The counters of a data plane: in memory, or in Redis."""

import time

from msgspec import Struct

from pdp.counters.memory import MemoryCounters
from pdp.counters.redis.stats import LineStats
from pdp.data.control import ControlClient
from pdp.ports import Counters, KeySource
from pdp.serve.data_plane import Tended
from pdp.serve.histogram import Histogram
from pdp.serve.sink import JournalSink
from pdp.serve.turn import Turn
from pdp.settings import Settings
from pdp.spool.journal import Journal
from pdp.spool.keeper import SpoolKeeper


class Counting(Struct, frozen=True):
    """Counters in Redis, and what belongs to them."""

    counters: Counters
    tender: Tended
    stats: LineStats
    latency: Histogram
    planes: int = 0
    """How many data planes had reached Redis before, as far as those of this data dir know."""


def counters_of(
    settings: Settings,
    control: ControlClient,
    keys: KeySource,
    recovered: MemoryCounters,
    journal: Journal,
    sink: JournalSink,
    turn: Turn,
) -> tuple[Counters, Counting | None, SpoolKeeper]:
    """Return the counters, what they need where they are in Redis, and who keeps the spool."""
    if settings.redis_url is None:
        return recovered, None, SpoolKeeper(journal, recovered, time.time_ns)
    from pdp.app.redis import count_in_redis, history_of  # noqa: PLC0415  A third of a second, 10 MB.

    history = history_of(journal, sink.append)
    counting = count_in_redis(settings, control, keys, history, recovered.live, turn)
    empty = MemoryCounters(recovered.seen)
    needed = counting.tender.needed
    return counting.counters, counting, SpoolKeeper(journal, empty, time.time_ns, needed=needed)
