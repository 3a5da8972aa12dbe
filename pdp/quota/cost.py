"""What a model costs, and what a request of it does: by the token, by kind, by the piece.

Integers throughout: nano-USD per million tokens, images, characters, seconds or requests.
Many real prices are fractions of a nano-dollar a token. All parts of a request are summed,
and rounded up once.
"""

from typing import Final

from msgspec import Struct

from pdp.model import TokenDetails, Units

_MILLION: Final = 1_000_000


class Kinds(Struct, frozen=True, array_like=True):
    """The rates of tokens that do not cost what others do; see `TokenDetails` for the names.

    `most_prompt` and `most_completion` are those of the dearest token that may occur.
    """

    cache_write: int
    cache_write_1h: int
    input_audio: int
    cached_audio: int
    input_image: int
    cached_image: int
    output_audio: int
    output_image: int
    reasoning: int
    most_prompt: int
    most_completion: int


class Rates(Struct, frozen=True, array_like=True):
    """nano-USD per million tokens; `cached` is for prompt tokens that the provider had cached.

    `kinds` None: no other kind of token has a rate of its own.
    """

    prompt: int
    completion: int
    cached: int
    kinds: Kinds | None = None

    @property
    def most_prompt(self) -> int:
        """The rate of the dearest token of a prompt."""
        if self.kinds is not None:
            return self.kinds.most_prompt
        return self.prompt if self.prompt >= self.cached else self.cached

    @property
    def most_completion(self) -> int:
        """The rate of the dearest token of an output."""
        return self.completion if self.kinds is None else self.kinds.most_completion

    def total(self, prompt: int, completion: int, cached: int, details: TokenDetails | None) -> int:
        """Return what tokens cost, in millionths of a nano-USD."""
        kinds = self.kinds
        if kinds is None or details is None:
            return (
                (prompt - cached) * self.prompt
                + cached * self.cached
                + (completion * self.completion)
            )
        # Of sound and pictures, what was cached has its own rate; the rest is of a kind.
        audio = details.input_audio - details.cached_audio
        image = details.input_image - details.cached_image
        plain = prompt - cached - details.cache_write - audio - image
        text = completion - details.output_audio - details.output_image - details.reasoning
        return (
            plain * self.prompt
            + (cached - details.cached_audio - details.cached_image) * self.cached
            + (details.cache_write - details.cache_write_1h) * kinds.cache_write
            + details.cache_write_1h * kinds.cache_write_1h
            + audio * kinds.input_audio
            + details.cached_audio * kinds.cached_audio
            + image * kinds.input_image
            + details.cached_image * kinds.cached_image
            + text * self.completion
            + details.output_audio * kinds.output_audio
            + details.output_image * kinds.output_image
            + details.reasoning * kinds.reasoning
        )


class Tier(Struct, frozen=True, array_like=True):
    """The rates of all tokens of a request whose prompt has more than `above` tokens."""

    above: int
    rates: Rates


class Fees(Struct, frozen=True, array_like=True):
    """nano-USD per million of what is paid for beside tokens, or instead; None: not paid for.

    A second is one of sound that is listened to; fewer than `least_seconds` count as these.
    """

    request: int | None = None
    image: int | None = None
    character: int | None = None
    second: int | None = None
    least_seconds: int = 0

    def say(self, units: Units | None) -> bool:
        """Tell whether they are for such a request at all."""
        return self.request is not None or (units is not None and self.count(units))

    def count(self, units: Units) -> bool:
        """Tell whether any of such units is paid for."""
        return (
            (self.image is not None and units.images > 0)
            or (self.character is not None and units.characters > 0)
            or (self.second is not None and units.seconds > 0)
        )

    def total(self, units: Units | None) -> int:
        """Return what a request costs beside its tokens, in millionths of a nano-USD."""
        total = self.request or 0
        if units is not None:
            seconds = units.seconds and max(units.seconds, self.least_seconds)
            total += (
                units.images * (self.image or 0)
                + units.characters * (self.character or 0)
                + seconds * (self.second or 0)
            )
        return total


class Price(Struct, frozen=True, array_like=True):
    """What a model costs: the usual rates, those of long prompts by ascending `above`, and fees.

    Without `by_token` the rates are 0: what tokens cost is not known, and fees tell all.
    """

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    fees: Fees | None = None
    by_token: bool = True

    def covers(self, units: Units | None) -> bool:
        """Tell whether it says what a request costs: one by the hour tells nothing of a chat."""
        return self.by_token or (self.fees is not None and self.fees.say(units))

    def cost(
        self,
        prompt_tokens: int,
        completion_tokens: int,
        cached_tokens: int = 0,
        details: TokenDetails | None = None,
        units: Units | None = None,
    ) -> int:
        """Return the cost in nano-USD, summed first and rounded up once.

        `details` must be parts of the counts (`pdp.form`). What has no rate costs nothing: ask
        `covers` first.
        """
        total = 0 if self.fees is None else self.fees.total(units)
        rates = self.rates if not self.tiers else self._rates(prompt_tokens)
        total += rates.total(prompt_tokens, completion_tokens, cached_tokens, details)
        return -(-total // _MILLION)

    def hold(
        self, prompt_tokens: int, completion_tokens: int, units: Units | None = None
    ) -> tuple[int, int]:
        """Return (the most that such a request may cost, that of its prompt) in nano-USD.

        NO-OVERSPEND: nobody knows yet what the provider will have cached or heard, so every
        token is the dearest that there is, and a shorter prompt does not cost more.
        """
        rates = self.rates
        if rates.kinds is None and not self.tiers:  # As most are; this is in every Check.
            dearest = rates.prompt if rates.prompt >= rates.cached else rates.cached
            prompt = prompt_tokens * dearest
            cost = prompt + completion_tokens * rates.completion
        else:
            of_prompt, of_completion = rates.most_prompt, rates.most_completion
            for tier in self.tiers:
                if prompt_tokens > tier.above:
                    of_prompt = max(of_prompt, tier.rates.most_prompt)
                    of_completion = max(of_completion, tier.rates.most_completion)
            prompt = prompt_tokens * of_prompt
            cost = prompt + completion_tokens * of_completion
        if self.fees is not None:
            fees = self.fees.total(units)
            prompt, cost = prompt + fees, cost + fees
        return -(-cost // _MILLION), -(-prompt // _MILLION)

    def _rates(self, prompt_tokens: int) -> Rates:
        rates = self.rates
        for tier in self.tiers:
            if prompt_tokens > tier.above:
                rates = tier.rates
        return rates


def fees_only(fees: Fees) -> Price:
    """Return the price of a model that is not paid for by the token."""
    return Price(Rates(0, 0, 0), (), fees, by_token=False)


def rates_of(
    prompt: int,
    completion: int,
    cached: int | None = None,
    *,
    cache_write: int | None = None,
    cache_write_1h: int | None = None,
    input_audio: int | None = None,
    cached_audio: int | None = None,
    input_image: int | None = None,
    cached_image: int | None = None,
    output_audio: int | None = None,
    output_image: int | None = None,
    reasoning: int | None = None,
) -> Rates:
    """Return rates; what has none of its own costs what the kind does of which it is a part.

    Sound that was cached costs as much as any sound where only that has a rate, else as much
    as anything that was cached; pictures likewise.
    """
    read = prompt if cached is None else cached
    write = prompt if cache_write is None else cache_write
    found = (
        write,
        write if cache_write_1h is None else cache_write_1h,
        prompt if input_audio is None else input_audio,
        _first(cached_audio, input_audio, read),
        prompt if input_image is None else input_image,
        _first(cached_image, input_image, read),
        completion if output_audio is None else output_audio,
        completion if output_image is None else output_image,
        completion if reasoning is None else reasoning,
    )
    usual = (prompt, prompt, prompt, read, prompt, read, completion, completion, completion)
    if found == usual:
        return Rates(prompt, completion, read)
    most_prompt, most_completion = max(prompt, read, *found[:6]), max(completion, *found[6:])
    return Rates(prompt, completion, read, Kinds(*found, most_prompt, most_completion))


def _first(*rates: int | None) -> int:
    return next(rate for rate in rates if rate is not None)
