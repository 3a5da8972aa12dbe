"""The prices received last, on disk: reports come right after a restart, new prices later."""

from pathlib import Path

import msgspec
import structlog

from pdp.quota.price import PriceList
from pdp.spool.folder import write_atomically

_log = structlog.get_logger(__name__)

_decoder = msgspec.json.Decoder(PriceList)


class PriceFile:
    """One file. Without it, reports that need a price wait until prices are received."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> PriceList | None:
        """Return what was kept, None if there is nothing that can be read."""
        try:
            return _decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("the prices kept cannot be read", file=str(self._path), error=str(error))
            return None

    def save(self, prices: PriceList) -> None:
        """Keep prices for the next start; blocks. A disk that will not costs a word."""
        try:
            write_atomically(self._path, msgspec.json.encode(prices))
        except OSError as error:
            _log.warning("prices cannot be kept", file=str(self._path), error=error.strerror)
