"""What `genai-prices` knows, as our rules and integers."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import partial
from typing import Any, Final

from genai_prices import types as genai

from pdp.quota.cost import Fees, Price, Rates, Tier, fees_only, rates_of
from pdp.quota.match import Match, joined
from pdp.quota.price import ModelPrice, ProviderPrices

_NANO: Final = 1_000_000_000
_DAY: Final = timedelta(days=1)

_KINDS: Final = {
    "cached": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "input_audio": "input_audio_mtok",
    "cached_audio": "cache_audio_read_mtok",
    "input_image": "input_image_mtok",
    "cached_image": "cache_image_read_mtok",
    "output_audio": "output_audio_mtok",
    "output_image": "output_image_mtok",
    "reasoning": "output_reasoning_mtok",
}
"""Our kinds of tokens and its own."""

_UNTOLD: Final = frozenset(
    {"output_video_mtok", "input_text_messages_kcount", "input_gpixels", "rerank_searches_kcount"}
)
"""What no API here tells: a price with one of these leaves the cost unknown."""

_LEAST_SECONDS: Final = {("groq", "whisper-large-v3"): 10, ("groq", "whisper-large-v3-turbo"): 10}
"""Groq bills ten seconds at least; source: console.groq.com/docs/speech-to-text."""

_FREE: Final = frozenset({("openai", "moderation")})
"""Models that are listed as free, not as of unknown price; names that end with `:free` are, too."""


def provider_prices(provider: genai.Provider, now: datetime) -> ProviderPrices:
    """Return a provider with the prices in force at `now`."""
    return ProviderPrices(
        provider.id,
        None if provider.model_match is None else _match(provider.model_match),
        tuple(model_price(provider, model, now) for model in provider.models),
        tuple(provider.fallback_model_providers or ()),
    )


def model_price(provider: genai.Provider, model: genai.ModelInfo, now: datetime) -> ModelPrice:
    """Return a model with its price at `now`; None where that is not known."""
    name, prices = (provider.id, model.id), model.get_prices(now)
    made = _made.get(name)
    if made is not None and made[0] is model and made[1] is prices:
        return made[2]
    price = _price(prices, _LEAST_SECONDS.get(name, 0))
    if price is None and _is_free(provider.id, model):
        price = Price(Rates(0, 0, 0))
    found = ModelPrice(_match(model.match), price)
    _made[name] = (model, prices, found)
    return found


_made: Final[dict[tuple[str, str], tuple[genai.ModelInfo, genai.ModelPrice, ModelPrice]]] = {}
"""What was made of each model last: of all of them that takes 0.15 s, and few ever change."""


def changes_of(model: genai.ModelInfo, now: datetime) -> Iterator[datetime]:
    """Yield when a model's price changes: every date, and each time of the days about `now`."""
    today = now.astimezone(UTC).date()
    for price in model.prices if isinstance(model.prices, list) else ():
        match price.constraint:
            case genai.StartDateConstraint(start_date=start):
                yield _moment(start, time())
            case genai.TimeOfDateConstraint(start_time=start_time, end_time=end_time):
                # A time in another zone may be one of the day before or after.
                for day in (today - _DAY, today, today + _DAY):
                    yield _moment(day, start_time)
                    yield _moment(day, end_time)


def _moment(day: date, at: time) -> datetime:
    """Return a time of a day; one that names no zone is UTC."""
    return datetime.combine(day, at, at.tzinfo or UTC)


def _is_free(provider: str, model: genai.ModelInfo) -> bool:
    named = (provider, model.id) in _FREE or model.id.endswith(":free")
    return named and not any(value is not None for value in vars(model.prices).values())


def _price(prices: genai.ModelPrice, least_seconds: int) -> Price | None:
    """Return what is charged for; None where that does not tell the cost."""
    told = {name for name, value in vars(prices).items() if value is not None}
    if told & _UNTOLD:
        return None
    usual, fees = _rates(prices, 0), _fees(prices, least_seconds)
    if usual is None:
        # Tokens that have no price are not free because a request has a fee.
        by_token = any(name.endswith("_mtok") for name in told)
        return None if fees is None or by_token else fees_only(fees)
    starts = {
        tier.start
        for value in vars(prices).values()
        if isinstance(value, genai.TieredPrices)
        for tier in value.tiers
    }
    tiers = [(start, _rates(prices, start + 1)) for start in sorted(starts)]
    found = tuple(Tier(start, rates) for start, rates in tiers if rates is not None)
    return Price(usual, found, fees)


def _rates(prices: genai.ModelPrice, prompt_tokens: int) -> Rates | None:
    at = partial(_nano, prompt_tokens=prompt_tokens)
    prompt, completion = at(prices.input_mtok), at(prices.output_mtok)
    if completion is None and not _has_output(prices):
        completion = 0  # Embeddings have no output.
    if prompt is None or completion is None:
        return None
    kinds = {ours: at(getattr(prices, theirs)) for ours, theirs in _KINDS.items()}
    return rates_of(prompt, completion, **kinds)


def _has_output(prices: genai.ModelPrice) -> bool:
    """Tell whether some output is charged for: pictures, sound."""
    charged = (name for name, value in vars(prices).items() if value is not None)
    return any(name.startswith("output") for name in charged)


def _fees(prices: genai.ModelPrice, least_seconds: int) -> Fees | None:
    # What is sent to be heard, else any sound.
    hours = prices.input_audio_hours if prices.input_audio_hours is not None else prices.audio_hours
    found = Fees(
        _nano(prices.requests_kcount, per=1000),
        None,
        _nano(prices.input_mchars),
        _nano(hours, per=3600),
        least_seconds,
    )
    return None if found == Fees(least_seconds=least_seconds) else found


def _nano(price: Any, prompt_tokens: int = 0, per: int = 1_000_000) -> int | None:
    """Return nano-USD for a million, rounded up, of what has a price for `per` pieces."""
    if isinstance(price, genai.TieredPrices):
        passed = [tier.price for tier in price.tiers if prompt_tokens > tier.start]
        price = passed[-1] if passed else price.base
    if not isinstance(price, Decimal):
        return None
    return int((price * _NANO * 1_000_000 / per).to_integral_value(ROUND_CEILING))


def _match(clause: Any) -> Match:
    match clause:
        case genai.ClauseEquals(equals=text):
            return Match(equals=(text.lower(),))
        case genai.ClauseStartsWith(starts_with=text):
            return Match(starts_with=(text.lower(),))
        case genai.ClauseEndsWith(ends_with=text):
            return Match(ends_with=(text.lower(),))
        case genai.ClauseContains(contains=text):
            return Match(contains=(text.lower(),))
        case genai.ClauseRegex(regex=pattern):
            return Match(regex=(pattern,))
        case genai.ClauseOr(or_=clauses):
            return joined(map(_match, clauses))
        case genai.ClauseAnd(and_=clauses):
            return Match(every=(tuple(map(_match, clauses)),))
    raise TypeError(f"unknown clause of genai-prices: {type(clause).__name__}")
