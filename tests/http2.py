"""As much HTTP/2 as it takes to call a gRPC server by hand, well or badly."""

from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1

_TABLE_SIZE, _WINDOW = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def string(text: bytes) -> bytes:
    """Return a string as a header block has it, without Huffman coding."""
    if len(text) < 127:
        return bytes([len(text)]) + text
    size, rest = bytearray([127]), len(text) - 127
    while rest >= 128:
        size.append(128 + rest % 128)
        rest //= 128
    return bytes([*size, rest]) + text


def block(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Return a header block that neither side has to remember."""
    return b"".join(b"\0" + string(name) + string(value) for name, value in fields)


def hello(window: int) -> bytes:
    """Return how a client begins; `window` is what it takes on each stream, in bytes."""
    settings = _TABLE_SIZE.to_bytes(2) + bytes(4) + _WINDOW.to_bytes(2) + window.to_bytes(4)
    return PREFACE + frame(SETTINGS, 0, 0, settings)


def grpc_headers(path: str) -> bytes:
    """Return the header block of a gRPC call."""
    return block(
        [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", b"pdp"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        ]
    )


def grpc_call(stream: int, headers: bytes, message: bytes) -> bytes:
    """Return the frames of a call with one message, below 16 kB."""
    body = b"\0" + len(message).to_bytes(4) + message
    return frame(HEADERS, END_HEADERS, stream, headers) + frame(DATA, END_STREAM, stream, body)
