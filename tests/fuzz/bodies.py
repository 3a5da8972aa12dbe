"""Request bodies as the official clients send them, and the words that make mutations bite."""

from typing import Any, Final

CHAT: Final = "/v1/chat/completions"
MESSAGES: Final = "/v1/messages"
RESPONSES: Final = "/v1/responses"

_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a place",
        "parameters": {
            "type": "object",
            "properties": {"model": {"type": "string"}, "city": {"type": "string"}},
            "required": ["city"],
        },
    },
}

BODIES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    (CHAT, {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}),
    (
        CHAT,
        {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "system", "content": "You are terse."},
                {"role": "user", "content": 'Żółć, 漢字, \U0001f600 and "quotes" \\ \n'},
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 64,
            "temperature": 0.2,
            "n": 2,
            "user": "user-1234",
        },
    ),
    (
        CHAT,
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
                    ],
                }
            ],
            "model": "o1",
            "max_completion_tokens": 500,
            "service_tier": "auto",
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
            "tools": [_TOOL],
            "tool_choice": "auto",
            "metadata": {"model": "gpt-3.5-turbo"},
        },
    ),
    (
        MESSAGES,
        {
            "model": "claude-3-5-sonnet-20241022",
            "max_tokens": 1024,
            "messages": [{"role": "user", "content": "Hello, Claude"}],
        },
    ),
    (
        MESSAGES,
        {
            "max_tokens": 200,
            "stream": True,
            "model": "claude-opus-4-1",
            "system": [
                {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
            ],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": "{"},
            ],
            "thinking": {"type": "enabled", "budget_tokens": 100},
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "stop_sequences": ["\n\n"],
            "service_tier": "standard_only",
            "top_k": 5,
        },
    ),
    (RESPONSES, {"model": "gpt-4o", "input": "Tell me a story", "max_output_tokens": 300}),
    (
        RESPONSES,
        {
            "model": "gpt-4o",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
            "stream": True,
            "background": False,
            "store": False,
            "reasoning": {"effort": "low"},
        },
    ),
    (
        "/v1/embeddings",
        {"model": "text-embedding-3-small", "input": ["a", "b"], "encoding_format": "float"},
    ),
    (
        "/v1/images/generations",
        {"model": "dall-e-3", "prompt": "a cat", "n": 1, "size": "1024x1024"},
    ),
    ("/v1/audio/speech", {"model": "gpt-4o-mini-tts", "input": "Hello", "voice": "alloy"}),
    ("/v1/moderations", {"model": "omni-moderation-latest", "input": "text"}),
)

DECISIVE: Final = (
    "model",
    "stream",
    "stream_options",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "background",
    "models",
    "service_tier",
    "speed",
)

MODELS: Final = (
    "gpt-4o",
    "GPT-4o",
    "gpt-4o-mini",
    "o1",
    "O1-preview",
    "claude-3-5-sonnet-20241022",
    "openai/gpt-4o",
    "llama-unpriced",
)

ODD_TEXTS: Final = (
    "",
    " ",
    "gpt-4o ",
    "gpt-4o\n",
    "gpt-4o\x00",
    "gpt-4\u043e",
    "gpt‑4o",
    "\u202egpt-4o",
    "ｇｐｔ-4o",
    "..",
    "*",
    "%67pt-4o",
    "m" * 256,
    "m" * 257,
    "${jndi:x}",
    "\ud7ff\ue000\uffff\U0010ffff",
    "`",
    "\r\nx-evil: 1",
)

ODD_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    1024,
    1025,
    2**31,
    2**53 + 1,
    2**63,
    2**64,
    10**30,
    0.5,
    1.0,
    -0.0,
    1e308,
    [],
    {},
    ["gpt-4o"],
    {"model": "gpt-4o"},
    {"include_usage": True},
    "true",
    "flex",
    "priority",
)

TOKENS: Final = (
    b'"model":"o1",',
    b'"model"',
    b'"Model":"o1",',
    b'"mod\\u0065l":"o1",',
    b"\\u0000",
    b"\\ud800",
    b"\\",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"//",
    b"/*",
    b"*/",
    b"#",
    b"\x00",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\r\n",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"null",
    b"[" * 300,
    b'{"a":' * 300,
    b"9" * 400,
)
"""What byte mutations insert: pieces on which parsers differ."""
