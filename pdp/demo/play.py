"""What happens in the demo: one step a rule, each with what it should end in."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
from msgspec import Struct

from pdp.demo.stage import Stage

_DEADLINE = 10.0
_ESSAY_TOKENS = 30_000


class Step(Struct):
    """One request: what it should end in, and what it did. `code` is the reason of a denial."""

    title: str
    status: int
    code: str
    got_status: int = 0
    got_code: str = ""
    message: str = ""
    request_id: str = ""
    retry_after: str = ""

    @property
    def passed(self) -> bool:
        """Tell whether it ended as it should."""
        return (self.got_status, self.got_code) == (self.status, self.code) and (
            self.status != 429 or bool(self.retry_after)
        )


class Cast(Struct, frozen=True):
    """The keys of the demo, as created."""

    team: dict[str, Any]
    user: dict[str, Any]
    eager: dict[str, Any]


def cast(stage: Stage) -> Cast:
    """Make a team with a budget of 1 USD, and two users of it."""
    team = stage.create_key(
        name="Team Tide", key_type="team", team_id="team_tide", budget_limits={"total": 1.0}
    )
    user = stage.create_key(
        name="Ada",
        key_type="user",
        team_id="team_tide",
        user_id="user_ada",
        permissions={"models": ["gpt-4o"]},
    )
    eager = stage.create_key(
        name="Eager",
        key_type="user",
        team_id="team_tide",
        user_id="user_eager",
        rate_limits={"per_minute": 6, "burst": 2},
    )
    return Cast(team, user, eager)


class Player:
    """Plays steps with the real `openai` client through the real Envoy."""

    def __init__(self, stage: Stage, keys: Cast) -> None:
        self._stage = stage
        self._keys = keys
        self._ada = self._client(keys.user)
        self._eager = self._client(keys.eager)

    def _client(self, key: dict[str, Any]) -> openai.OpenAI:
        url = f"http://127.0.0.1:{self._stage.ports.envoy}/v1"
        return openai.OpenAI(base_url=url, api_key=key["api_key"], max_retries=0, timeout=30)

    def play(self) -> Iterator[Step]:
        """Yield each step when it is over."""
        yield self._run(Step("a completion is allowed", 200, "ok"), lambda: self._ask(self._ada))
        yield self._run(Step("a stream is allowed", 200, "ok"), self._stream)
        yield self._run(
            Step("a model that is not hers is refused", 403, "model_not_allowed"),
            lambda: self._ask(self._ada, model="gpt-4-turbo"),
        )
        for number in (1, 2):
            yield self._run(
                Step(f"a burst of three: number {number} passes", 200, "ok"),
                lambda: self._ask(self._eager),
            )
        yield self._run(
            Step("a burst of three: number 3 has to wait", 429, "rate_limit_exceeded"),
            lambda: self._ask(self._eager),
        )
        for number in (1, 2, 3):
            yield self._run(
                Step(f"long essay {number} on the team's 1 USD", 200, "ok"), self._essay
            )
        yield self._run(
            Step("essay 4 would not fit: the budget holds", 403, "budget_exceeded"), self._essay
        )
        self._stage.pdp("keys", "revoke", self._keys.user["id"])
        yield self._until_refused(Step("Ada's key is revoked", 401, "key_revoked"))

    def _ask(self, client: openai.OpenAI, **changes: Any) -> Any:
        asked = {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": "What does the sea leave behind?"}],
            "max_tokens": 100,
            **changes,
        }
        return client.chat.completions.with_raw_response.create(**asked)

    def _stream(self) -> Any:
        answer = self._ask(self._ada, stream=True)
        for _ in answer.parse():
            pass
        return answer

    def _essay(self) -> Any:
        message = {"role": "user", "content": "Write a long essay about the tides."}
        return self._ask(self._ada, messages=[message], max_tokens=_ESSAY_TOKENS)

    def _run(self, step: Step, ask: Callable[[], Any]) -> Step:
        try:
            answer = ask()
            step.got_status, step.got_code = answer.status_code, "ok"
            headers = answer.headers
        except openai.APIStatusError as error:
            step.got_status, step.got_code = error.status_code, error.code or ""
            step.message = str((error.body or {}).get("message", ""))  # type: ignore[attr-defined]
            headers = error.response.headers
        except openai.APIConnectionError as error:
            step.message = f"no answer: {error}"
            return step
        step.request_id = headers.get("x-request-id", "")
        step.retry_after = headers.get("retry-after", "")
        return step

    def _until_refused(self, step: Step) -> Step:
        """A revoked key stops within a second; give it a moment."""
        end = time.monotonic() + 2.0
        while not self._run(step, lambda: self._ask(self._ada)).passed and time.monotonic() < end:
            time.sleep(0.05)
        return step


def settled(stage: Stage, steps: list[Step]) -> dict[str, dict[str, Any]]:
    """Return the audit entries of the steps by request id, once nothing is pending."""
    end = time.monotonic() + _DEADLINE
    wanted = {step.request_id for step in steps if step.request_id}
    while True:
        entries = {
            entry["request_id"]: entry for entry in stage.pdp("audit", "--limit", "200")["logs"]
        }
        found = {name: entries[name] for name in wanted & entries.keys()}
        done = len(found) == len(wanted) and all(
            entry["status"] != "pending" for entry in found.values()
        )
        if done or time.monotonic() > end:
            return found
        time.sleep(0.1)
