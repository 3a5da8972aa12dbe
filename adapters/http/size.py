"""How much a request may take at the most, by what its body shows. Pure."""

from msgspec import Struct

from adapters.http.body import Body
from adapters.http.form import Form
from adapters.http.routes import Route
from pdp.model import Units
from pdp.quota.estimate import (
    TOKENS_OF_IMAGE_READ,
    prompt_tokens_of_bytes,
    seconds_of_sound,
    tokens_of_sound,
)


class Size(Struct, frozen=True, gc=False):
    """Tokens of the prompt, and what may be paid for beside them."""

    prompt_tokens: int
    units: Units | None = None


def size_of_json(length: int, body: Body, route: Route, strict: bool) -> Size:
    """Return the size of a request whose body is JSON of so many bytes."""
    tokens = prompt_tokens_of_bytes(length, strict)
    if not route.paid_by:
        return Size(tokens)
    if route.paid_by == "images":
        return Size(tokens, Units(images=body.choices))
    characters = length if body.characters is None else body.characters
    return Size(tokens, Units(characters=characters))


def size_of_form(form: Form, route: Route, strict: bool) -> Size:
    """Return the size of a request whose body is a form: of its files and the text beside them."""
    text = prompt_tokens_of_bytes(form.text_bytes, strict)
    if route.paid_by == "images":
        seen = form.files * TOKENS_OF_IMAGE_READ
        return Size(text + seen, Units(images=form.body.choices))
    seconds = seconds_of_sound(form.file_bytes, strict)
    return Size(text + tokens_of_sound(seconds), Units(seconds=seconds))
