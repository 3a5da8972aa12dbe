"""An encoded permission is what protobuf's messages say."""

from hypothesis import given
from hypothesis import strategies as st

from pdp.model import Decision
from pdp.serve.decision_service import decision_to_proto
from pdp.serve.permission import permission
from pdp.v1 import policy_decision_pb2 as pb

_TEXT = st.one_of(
    st.text(max_size=12),
    # Lengths of one, two and three bytes, and what is around their ends.
    st.builds(lambda length, letter: letter * length, st.integers(60, 140), st.sampled_from("aż")),
    st.sampled_from(["x" * 16_384, "ż" * 70_000]),
)
_HEADERS = st.dictionaries(st.sampled_from(["x-request-id", "retry-after", "x" * 99]), _TEXT)


@given(st.lists(_TEXT, min_size=9, max_size=9), _HEADERS)
def test_it_is_what_the_messages_say(texts: list[str], headers: dict[str, str]) -> None:
    made = iter(texts)
    decision = Decision(
        allowed=True,
        reason="ok",
        message="",
        http_status=200,
        decision_id=next(made),
        key_id=next(made),
        key_name=next(made),
        organization_id=next(made),
        team_id=next(made),
        user_id=next(made),
        reservation_id=next(made),
        policy_revision=next(made),
        matched_statement=next(made),
        response_headers=headers,
    )
    assert pb.CheckResponse.FromString(permission(decision)) == decision_to_proto(decision)
