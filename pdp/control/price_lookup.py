"""Which price a model has, where it comes from, and when it changes."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from genai_prices import data
from genai_prices.types import ModelInfo

from pdp.control.built_in_prices import changes_of
from pdp.control.price_document import shown
from pdp.control.price_entry import boundaries, in_force
from pdp.control.price_overrides import Override
from pdp.control.prices import build_list
from pdp.quota.price import PriceTable
from pdp.store.prices import PriceRow
from pdp.wording import instant

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_LOOKS: Final = 24
"""Times to come that are looked at: some prices change twice a day."""


def look_up(
    model: str, provider: str, entries: Sequence[PriceRow], file: Sequence[Override], now: int
) -> dict[str, Any]:
    """Return the price of a model at `now` (ns); without a `provider`, at the one it implies.

    `source` is `override`, `file` or `built_in`, None where there is no price; `matched` the
    name or pattern that it is for; `changes_at` when it will be another, as far as is known.
    """
    found = _Look(entries, file, now).find(model, provider)
    later = _change(model, found, entries, file, now)
    return {**found, "changes_at": None if later is None else instant(later)}


class _Look:
    def __init__(self, entries: Sequence[PriceRow], file: Sequence[Override], now: int) -> None:
        self._overrides = (*in_force(entries, now), *file)
        self._table = PriceTable(build_list(self._overrides, _moment(now)))

    def find(self, model: str, provider: str) -> dict[str, Any]:
        """Return all but when it changes."""
        provider = provider or self._table.provider_of(model)
        price = self._table.price(model, provider)
        source, matched, price_id = self._source(model, provider)
        return {
            "model": model,
            "provider": provider,
            "source": None if price is None else source,
            "matched": matched,
            "price_id": price_id,
            "price": None if price is None else {**shown(price), "currency": "USD"},
        }

    def _source(self, model: str, provider: str) -> tuple[str | None, str | None, str | None]:
        entry = self._table.entry(model, provider)
        if entry is None:
            return None, None, None
        seller, place = entry
        own = [each for each in self._overrides if each.provider == seller]
        if place < len(own):
            override = own[place]
            source = "override" if override.price_id else "file"
            return source, override.model, override.price_id or None
        return "built_in", _models(seller)[place - len(own)].id, None


def _change(
    model: str,
    found: dict[str, Any],
    entries: Sequence[PriceRow],
    file: Sequence[Override],
    now: int,
) -> int | None:
    """Return when a model's price becomes another one; what is unknown may begin to be known."""
    name = model.lower()
    times = boundaries([row for row in entries if _may_match(row, name)])
    times |= set(_built_in_changes(found["provider"], name, now))
    for at in sorted(each for each in times if each > now)[:_MOST_LOOKS]:
        then = _Look(entries, file, at).find(model, found["provider"])
        if then["price"] != found["price"]:
            return at
    return None


def _may_match(row: PriceRow, name: str) -> bool:
    rule = in_force([row], row.effective_from)[0].match
    return rule.matches(name) or rule.matches(name.removeprefix(f"{row.provider}/"))


def _built_in_changes(provider: str, name: str, now: int) -> Iterator[int]:
    for model in _models(provider):
        if model.is_match(name) or model.is_match(name.removeprefix(f"{provider}/")):
            for moment in changes_of(model, _moment(now)):
                yield _ns(moment)


def _models(provider: str) -> list[ModelInfo]:
    return next((each.models for each in data.providers if each.id == provider), [])


def _moment(now: int) -> datetime:
    return _EPOCH + timedelta(microseconds=now // 1000)


def _ns(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
