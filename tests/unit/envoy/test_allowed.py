"""An encoded permission is what protobuf's messages say."""

from hypothesis import example, given
from hypothesis import strategies as st

from adapters.envoy.allowed import allowed
from adapters.envoy.translate import FORCE_USAGE, STRIPPED
from adapters.envoy.v1 import wire_pb2 as pb

_TEXT = st.one_of(
    st.text(max_size=12),
    # Lengths of one, two and three bytes, and what is around their ends.
    st.builds(lambda length, letter: letter * length, st.integers(90, 140), st.sampled_from("aż")),
    st.sampled_from(["x" * 16_300, "x" * 16_384, "ż" * 70_000]),
)
_NAMES = st.sampled_from(["x-request-id", "x-ratelimit-limit-requests", "retry-after"])


@given(st.dictionaries(_NAMES, _TEXT), _TEXT, st.booleans())
@example({}, "", False)
def test_it_is_what_the_messages_say(
    headers: dict[str, str], reference: str, force_usage: bool
) -> None:
    response = pb.CheckResponse()
    response.status.code = 0
    ok = response.ok_response
    if force_usage:
        ok.headers.add(append_action=2, header=pb.HeaderValue(key=FORCE_USAGE, value="1"))
    ok.headers_to_remove.extend(name for name in STRIPPED if name != FORCE_USAGE or not force_usage)
    for name, value in headers.items():
        ok.response_headers_to_add.add(
            append_action=2, header=pb.HeaderValue(key=name, value=value)
        )
    response.dynamic_metadata.fields["ref"].string_value = reference
    data = allowed(headers, reference, force_usage=force_usage)
    assert pb.CheckResponse.FromString(data) == response
