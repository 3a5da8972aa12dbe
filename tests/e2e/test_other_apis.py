"""What is not chat: pictures, sound, embeddings and moderations, by their own prices."""

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tests.backdrop import Backdrop
from tests.e2e.envoy.conftest import Gateway
from tests.e2e.nginx.conftest import NginxGateway
from tests.provider import SPOKEN

PRICES = """{"prices": [
  {"provider": "openai", "model": "dall-e-*", "per_image": "0.04"},
  {"provider": "openai", "model": "flat-*", "per_request": "0.01"}
]}"""


@pytest.fixture(scope="module", params=["envoy", "nginx"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway | NginxGateway]:
    """A gateway behind each proxy: what they charge must not differ."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "prices.json").write_text(PRICES)
    file = str(folder / "prices.json")
    made: Gateway | NginxGateway
    if request.param == "envoy":
        made = Gateway(folder, "native", PDP_PRICES_FILE=file)
    else:
        made = NginxGateway(folder, reports=True, PDP_PRICES_FILE=file)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def key(gateway: Backdrop) -> dict[str, Any]:
    return gateway.stack.create_key(budget_limits={"total": 1.0})


def embed(client: openai.OpenAI) -> Any:
    make = client.embeddings.with_raw_response.create
    return make(model="text-embedding-3-small", input="hello")


def draw(client: openai.OpenAI) -> Any:
    return client.images.with_raw_response.generate(model="gpt-image-1", prompt="a cat")


def draw_by_the_piece(client: openai.OpenAI) -> Any:
    return client.images.with_raw_response.generate(model="dall-e-2", prompt="a cat", n=3)


def redraw(client: openai.OpenAI) -> Any:
    edit = client.images.with_raw_response.edit
    return edit(model="gpt-image-1", image=[("a.png", b"p"), ("b.png", b"q")], prompt="a dog")


def vary(client: openai.OpenAI) -> Any:
    with pytest.deprecated_call():
        return client.images.with_raw_response.create_variation(model="dall-e-2", image=b"png")


def hear(client: openai.OpenAI) -> Any:
    transcribe = client.audio.transcriptions.with_raw_response.create
    return transcribe(model="whisper-1", file=("a.mp3", b"\0" * 20_000))


def hear_by_the_token(client: openai.OpenAI) -> Any:
    transcribe = client.audio.transcriptions.with_raw_response.create
    return transcribe(model="gpt-4o-transcribe", file=("a.mp3", b"\0" * 20_000))


def translate(client: openai.OpenAI) -> Any:
    translations = client.audio.translations.with_raw_response
    with pytest.deprecated_call():
        return translations.create(model="whisper-1", file=b"\0" * 999)


def speak(client: openai.OpenAI) -> Any:
    answer = client.audio.speech.with_raw_response.create(
        model="tts-1", voice="alloy", input="hällo", speed=1.25
    )
    assert answer.content == SPOKEN
    return answer


def moderate(client: openai.OpenAI) -> Any:
    make = client.moderations.with_raw_response.create
    return make(model="omni-moderation-latest", input="hello")


@pytest.mark.parametrize(
    ("ask", "action", "source", "total", "cost"),
    [
        (embed, "embeddings.create", "provider", 11, 11 * 0.02e-6),
        (draw, "images.generate", "provider", 1_106, (10 * 5 + 40 * 10 + 1_056 * 40) / 1e6),
        (redraw, "images.generate", "provider", 1_106, (10 * 5 + 40 * 10 + 1_056 * 40) / 1e6),
        (draw_by_the_piece, "images.generate", "estimated", 0, 3 * 0.04),
        (vary, "images.generate", "estimated", 0, 0.04),
        (hear, "audio.transcriptions.create", "provider", 0, 9 * 0.006 / 60),
        (translate, "audio.transcriptions.create", "provider", 0, 9 * 0.006 / 60),
        (
            hear_by_the_token,
            "audio.transcriptions.create",
            "provider",
            59,
            (4 * 2.5 + 10 * 6 + 45 * 10) / 1e6,
        ),
        (speak, "audio.speech.create", "estimated", 0, 5 * 15 / 1e6),
        (moderate, "moderations.create", "estimated", None, 0),
    ],
)
def test_each_api_is_charged_by_its_own_price(
    gateway: Backdrop,
    key: dict[str, Any],
    ask: Callable[[openai.OpenAI], Any],
    action: str,
    source: str,
    total: int | None,
    cost: float,
) -> None:
    answer = ask(gateway.client(key["api_key"]))
    entry = gateway.settled(answer.headers["x-request-id"])
    assert (entry["action"], entry["status"]) == (action, "success")
    assert entry["usage_source"] == source
    assert total is None or entry["tokens"]["total"] == total
    assert entry["cost_usd"] == pytest.approx(cost, abs=1e-9)


def test_a_price_by_the_piece_that_nobody_knows_is_refused_under_a_budget(
    gateway: Backdrop, key: dict[str, Any]
) -> None:
    client = gateway.client(key["api_key"])
    for ask in (
        lambda: client.images.generate(model="imagine-9", prompt="a cat"),
        # Paid for by the hour, and this is no sound.
        lambda: client.embeddings.create(model="whisper-1", input="hello"),
    ):
        with pytest.raises(openai.PermissionDeniedError) as caught:
            ask()
        assert caught.value.code == "price_unknown"


def test_a_hold_by_the_piece_is_refused_before_it_is_overspent(gateway: Backdrop) -> None:
    key = gateway.stack.create_key(budget_limits={"total": 0.1})
    client = gateway.client(key["api_key"])
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.images.generate(model="dall-e-2", prompt="a cat", n=3)
    assert caught.value.code == "budget_exceeded"
    client.images.generate(model="dall-e-2", prompt="a cat", n=2)


def test_a_fee_for_a_request_is_charged_whatever_it_takes(gateway: Backdrop) -> None:
    key = gateway.stack.create_key(budget_limits={"total": 0.015})
    client = gateway.client(key["api_key"])
    make = client.chat.completions.with_raw_response.create
    answer = make(model="flat-1", messages=[{"role": "user", "content": "hi"}])
    assert gateway.settled(answer.headers["x-request-id"])["cost_usd"] == 0.01
    with pytest.raises(openai.PermissionDeniedError):
        make(model="flat-1", messages=[{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/completions"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches"),
        ("POST", "/v1/files"),
        ("GET", "/v1/models/gpt-4o"),
        ("POST", "/v1/audio/transcriptions/"),
        ("GET", "/v1/images/edits"),
    ],
)
def test_other_routes_stay_closed(
    gateway: Backdrop, key: dict[str, Any], method: str, path: str
) -> None:
    client = gateway.client(key["api_key"])
    arrived = len(gateway.provider.arrivals)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.request(
            dict,
            openai._models.FinalRequestOptions(method=method.lower(), url=path.removeprefix("/v1")),
        )
    assert caught.value.code == "route_not_allowed"
    assert len(gateway.provider.arrivals) == arrived
