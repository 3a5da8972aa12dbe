"""Errors have one shape, the right status, and say nothing of what is inside."""

from typing import Any

import pytest

from pdp.credentials import BadCredentials
from pdp.errors import (
    Conflict,
    Forbidden,
    InvalidDocument,
    NotFound,
    PreconditionFailed,
    Problem,
    Unauthorized,
    Unavailable,
)
from pdp.rest.answer import Answer
from pdp.rest.faults import CODES, HttpFault, answer_of, defect_answer


def error(answer: Answer | None) -> dict[str, Any]:
    assert answer is not None
    assert set(answer.body) == {"error"}
    assert set(answer.body["error"]) == {"message", "type", "param", "code"}
    assert answer.status == CODES[answer.body["error"]["code"]].status
    found: dict[str, Any] = answer.body["error"]
    return found


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (InvalidDocument([Problem("name", "not a text")]), 400, "invalid_request"),
        (Unauthorized("key_revoked", "it is"), 401, "key_revoked"),
        (Unauthorized("ip_not_allowed", "it is"), 403, "ip_not_allowed"),
        (BadCredentials("two"), 401, "invalid_api_key"),
        (Forbidden("no"), 403, "forbidden"),
        (NotFound("no"), 404, "not_found"),
        (Conflict("no"), 409, "conflict"),
        (PreconditionFailed("no"), 412, "precondition_failed"),
        (HttpFault("body_too_large", "no"), 413, "body_too_large"),
        (Unavailable("no", 7), 503, "unavailable"),
    ],
)
def test_each_error_has_its_status(raised: Exception, status: int, code: str) -> None:
    answer = answer_of(raised)
    assert answer is not None
    assert (answer.status, error(answer)["code"]) == (status, code)
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert answer.headers.get("retry-after") == ("7" if status == 503 else None)


def test_all_faults_are_told_and_the_first_has_its_place() -> None:
    told = error(answer_of(InvalidDocument([Problem("a.b", "one"), Problem("c", "two")])))
    assert told["message"] == "a.b: one; c: two"
    assert told["param"] == "a.b"


def test_thousands_of_faults_are_not_told() -> None:
    problems = [Problem(f"f{number}", "unknown field") for number in range(5000)]
    message = error(answer_of(InvalidDocument(problems)))["message"]
    assert message.endswith("; and 4950 more")
    assert len(message) < 2000


def test_a_defect_says_nothing() -> None:
    assert answer_of(ValueError("secret")) is None
    assert error(defect_answer())["code"] == "internal_error"
