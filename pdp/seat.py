"""Which of the data planes of one `pdp serve` a process is (`PDP_WORKERS`), and what is its own.

TCP and UDP ports are shared: the kernel spreads what comes. A unix socket has one listener,
a log file one reader, a spool one writer.
"""

from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from pdp.settings import Settings


class Seat(Struct, frozen=True):
    """Data plane `number` of so many, counted from 1."""

    number: int = 1
    of: int = 1

    @property
    def is_shared(self) -> bool:
        """Whether there are others beside it."""
        return self.of > 1

    def settings(self, shared: Settings) -> Settings:
        """Return the settings of all as they are for this one."""
        if self.number == 1:
            return shared
        return replace(
            shared,
            grpc_listen=self._own(shared.grpc_listen),
            nginx_listen=self._own(shared.nginx_listen),
            nginx_usage_file=None,
        )

    def spool_dir(self, settings: Settings) -> Path:
        """Return where it keeps its spool: always there, whoever was killed before."""
        return spool_dirs(settings, self.number)[-1]

    def figures(self, settings: Settings) -> Path:
        """Return the socket on which it tells its figures."""
        return settings.data_dir.absolute() / f"worker-{self.number}.sock"

    def _own(self, address: str) -> str:
        return f"{address}.{self.number}" if address.startswith("unix:") else address


ALONE = Seat()


def spool_dirs(settings: Settings, workers: int) -> list[Path]:
    """Return the spools of so many data planes. The first has that of one alone."""
    first = settings.spool_dir
    return [first, *(first.with_name(f"{first.name}-{n}") for n in range(2, workers + 1))]


def further_spools(settings: Settings, workers: int) -> list[Path]:
    """Return the spools that are there of data planes beyond so many."""
    numbers = sorted(
        int(text)
        for path in settings.data_dir.glob(f"{settings.spool_dir.name}-*")
        if (text := path.name.rpartition("-")[2]).isdecimal() and (path / "spool_id").exists()
    )
    first = settings.spool_dir
    return [first.with_name(f"{first.name}-{n}") for n in numbers if n > workers]
