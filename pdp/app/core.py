"""What decides and remembers in a data plane, without a port: the engine and all it rests on."""

import secrets
import time
from functools import partial
from pathlib import Path

from msgspec import Struct

from pdp.app.counters import Counting, counters_of
from pdp.app.tls import control_target
from pdp.certificates import Renewed
from pdp.counters.memory import MemoryCounters
from pdp.counters.redis.address import parse_address
from pdp.data.control import ControlClient
from pdp.data.keycache import KeyCache
from pdp.data.price_file import PriceFile
from pdp.data.shipper import Shipper
from pdp.data.watch import Watch
from pdp.engine import Engine
from pdp.ids import IdSource
from pdp.pepper import load_pepper
from pdp.seat import Seat
from pdp.secret import fingerprint_of, hash_secret
from pdp.serve.load import Load
from pdp.serve.sink import JournalSink
from pdp.serve.turn import Turn
from pdp.settings import Settings, engine_options
from pdp.spool.journal import Journal
from pdp.spool.keeper import SpoolKeeper
from pdp.spool.recover import recover
from pdp.stats import Stats

_SECOND = 1_000_000_000
_UNKNOWN_KEYS = 10_000
_PREDECESSOR_DIES = 5.0
"""Seconds that a killed data plane may take to let its spool go."""


class Core(Struct, frozen=True):
    """The engine, and what it rests on. `counting`: counters that are in Redis, None: here."""

    control: ControlClient
    keys: KeyCache
    watch: Watch
    journal: Journal
    keeper: SpoolKeeper
    counting: Counting | None
    sink: JournalSink
    turn: Turn
    shipper: Shipper
    stats: Stats
    engine: Engine
    load: Load


def core_of(settings: Settings, line: Renewed | None, seat: Seat) -> Core:
    """Recover the spool of a seat, and join what rests on it. Raises `StartRefused`."""
    control, keys = _line_of(settings, line)
    spool_dir = seat.spool_dir(settings)
    recovered, journal = _recovered(spool_dir, settings)
    sink, stats = JournalSink(journal), Stats()
    turn = Turn(sink.begin, sink.end)
    counters, counting, keeper = counters_of(
        settings, control, keys, recovered, journal, sink, turn
    )
    kept = PriceFile(spool_dir / "prices.json")
    apart = _nobody if counting is None else counting.tender.told_apart
    watch = Watch(control, keys, journal.spool_id, clock=time.time_ns, kept=kept, apart=apart)
    engine = Engine(
        keys=keys,
        counters=counters,
        prices=watch.prices,
        sink=sink,
        clock=time.time_ns,
        ids=IdSource(secrets.token_hex(5)),
        options=engine_options(settings),
        stats=stats,
    )
    return Core(
        control=control,
        keys=keys,
        watch=watch,
        journal=journal,
        keeper=keeper,
        counting=counting,
        sink=sink,
        turn=turn,
        shipper=Shipper(journal, control),
        stats=stats,
        engine=engine,
        load=Load(),
    )


def _recovered(spool_dir: Path, settings: Settings) -> tuple[MemoryCounters, Journal]:
    return recover(
        spool_dir,
        new_spool_id=secrets.token_hex(8),
        now=time.time_ns(),
        wait=_PREDECESSOR_DIES,
        max_bytes=settings.spool_max_bytes,
    )


def _line_of(settings: Settings, tls: Renewed | None) -> tuple[ControlClient, KeyCache]:
    """Return the line to the control plane, and the keys that come over it."""
    pepper = load_pepper(settings)
    target, _ = control_target(settings)
    control = ControlClient(
        target,
        fingerprint_of(pepper),
        tls=tls,
        server_name=settings.control_tls_name,
        counters=_place_of(settings),
        life=secrets.token_hex(8),
    )
    keys = KeyCache(
        control,
        partial(hash_secret, pepper=pepper),
        clock=time.monotonic_ns,
        size=settings.key_cache_size,
        unknown_size=_UNKNOWN_KEYS,
        max_staleness=int(settings.max_staleness * _SECOND),
    )
    return control, keys


def _nobody(_: bool | None) -> None:
    """Hear that counters in memory are in no Redis."""


def _place_of(settings: Settings) -> str:
    """Return the Redis of the counters, without credentials; empty: they are in memory."""
    url = settings.redis_url
    return "" if url is None else parse_address(url.reveal()).place
