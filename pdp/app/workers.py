"""What several data planes of one `pdp serve` have together: their ports, and the ops port."""

import asyncio
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pdp.datadir import make_data_dir
from pdp.errors import StartRefused
from pdp.seat import Seat
from pdp.serve.figures import figures_at
from pdp.serve.http import HttpServer
from pdp.serve.merge import Merged, Told
from pdp.serve.ops import ops_app, registry_of
from pdp.serve.supervisor import Child
from pdp.serve.transport import claim, unix_path
from pdp.settings import Settings


@contextmanager
def ports_claimed(settings: Settings) -> Iterator[None]:
    """Keep the ports that workers share from everybody else.

    Who binds a port to be shared is told nothing of another server that shares it: so they are
    first bound alone. Raises `StartRefused`, naming the setting.
    """
    shared = [
        (settings.grpc_listen, "PDP_GRPC_LISTEN"),
        (settings.nginx_listen, "PDP_NGINX_LISTEN"),
    ]
    usage = settings.usage_address
    with ExitStack() as held:
        for address, setting in shared:
            if address.endswith(":0"):
                raise StartRefused(f"{setting}: workers share a port: name one in place of 0")
            if unix_path(address) is None:
                claim(address, setting).close()
                # It does not listen, so that the kernel gives it no connection.
                held.enter_context(claim(address, setting, shared=True))
        if usage != "off":
            # Not kept: lines would come here.
            claim(usage, "PDP_NGINX_USAGE_LISTEN", kind=socket.SOCK_DGRAM).close()
        yield


def needed(workers: int) -> int:
    """Return how many of so many workers must be ready for `/readyz`: half of them."""
    return (workers + 1) // 2


class Workers(Collector):
    """The workers as one: whether enough are ready, and the sum of what they count."""

    def __init__(self, settings: Settings, workers: Sequence[Child]) -> None:
        self._settings = settings
        self._workers = workers
        self._merged = Merged()
        self._metrics: Sequence[Metric] = ()
        self._asking = asyncio.Lock()

    def unready(self) -> str:
        """Return what is missing; nothing while half of them are ready, once all have been."""
        of, ready = len(self._workers), self._ready()
        have_begun = all(child.ready.is_set() for child in self._workers)
        if ready >= (needed(of) if have_begun else of):
            return ""
        return f"{ready} of {of} workers are ready"

    def collect(self) -> Iterable[Metric]:
        """Yield what was told last."""
        yield from self._metrics
        state = GaugeMetricFamily("pdp_workers", "Data planes of this server.", labels=("state",))
        state.add_metric(("ready",), self._ready())
        state.add_metric(("unready",), len(self._workers) - self._ready())
        yield state

    async def ask(self) -> None:
        """Ask all of them; one after another, or what was told first might count last."""
        async with self._asking:
            told = await asyncio.gather(*map(self._told, self._workers))
            found = zip(self._workers, told, strict=True)
            self._metrics = self._merged.merge(
                {child.worker: each for child, each in found if each}
            )

    def _ready(self) -> int:
        return sum(child.is_ready for child in self._workers)

    async def _told(self, child: Child) -> Told | None:
        life = child.lives
        seat = Seat(child.worker, len(self._workers))
        found = await figures_at(seat.figures(self._settings))
        # If another process has taken its place meanwhile, whose they are is not known.
        return None if found is None or child.lives != life else Told(life, list(found))


def ops_of(settings: Settings, workers: Sequence[Child]) -> HttpServer:
    """Return the ops port of all, bound. Raises `StartRefused`."""
    make_data_dir(settings.data_dir)
    group = Workers(settings, workers)
    registry = registry_of([group])

    async def collected() -> CollectorRegistry:
        await group.ask()
        return registry

    return HttpServer(ops_app(collected, group.unready), settings.ops_listen, "PDP_OPS_LISTEN")
