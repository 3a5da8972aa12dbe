"""Prices for simulations: those in force, indexed when somebody asks for one."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from pdp.quota.price import Price, PriceList, PriceTable

if TYPE_CHECKING:  # It takes a third of a second to import.
    from pdp.control.prices import Prices


class CurrentPrices:
    """The `Prices` of simulations; `current` gives the list as the control plane has it.

    It is asked each time, so that the list may change, and indexed once a revision.
    """

    def __init__(self, current: "Callable[[], Prices]") -> None:
        self._current = current
        self._revision = ""
        self._table = PriceTable(PriceList())

    def knows(self, provider: str) -> bool:
        """Tell whether there is such a provider."""
        return self._indexed().knows(provider)

    def provider_of(self, model: str) -> str:
        """Return the provider that a model name implies, else `unknown`."""
        return self._indexed().provider_of(model)

    def price(self, model: str, provider: str) -> Price | None:
        """Return the price of a model at a provider; None if it is not known."""
        return self._indexed().price(model, provider)

    def price_at(self, model: str, provider: str, at: int) -> Price | None:
        """Return the price of now: nobody reports what was only simulated."""
        del at
        return self.price(model, provider)

    def _indexed(self) -> PriceTable:
        current = self._current()
        if current.revision != self._revision:
            self._table = PriceTable(msgspec.json.decode(current.json, type=PriceList))
            self._revision = current.revision
        return self._table
