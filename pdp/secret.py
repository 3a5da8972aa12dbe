"""Raw API keys: how they are made, recognised and hashed. Pure: randomness is an argument.

`vsk_<environment>_<base62 of >= 160 random bits><6 base62 characters of CRC32>`.
The checksum turns junk and typing errors away without a look-up.
"""

import hashlib
import re
from typing import Final
from zlib import crc32

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKSUM_LENGTH: Final = 6
_ENVIRONMENT = re.compile(r"[a-z0-9]{1,16}", re.ASCII)
_SHAPE = re.compile(r"vsk_[a-z0-9]{1,16}_[0-9A-Za-z]{33,64}", re.ASCII)
LONGEST: Final = 128
"""Characters; no key has more."""
MIN_RANDOM_BYTES: Final = 20
MIN_PEPPER: Final = 32
"""Characters."""


def is_environment(text: str) -> bool:
    """Tell whether a text can be the environment part of a key."""
    return _ENVIRONMENT.fullmatch(text) is not None


def make_secret(environment: str, random: bytes) -> str:
    """Return a raw key. `random` is at least 20 bytes from a secure source."""
    if not is_environment(environment) or len(random) < MIN_RANDOM_BYTES:
        raise ValueError("an environment of a-z0-9, up to 16, and at least 20 bytes are needed")
    # 8 bits a byte over log2(62) bits a character, rounded up.
    length = -(-len(random) * 8 * 1000 // 5954)
    body = f"vsk_{environment}_{_base62(int.from_bytes(random, 'big'), length)}"
    return body + _checksum(body)


def is_well_formed(raw: str) -> bool:
    """Tell whether a text can be a key at all: shape and checksum."""
    if len(raw) > LONGEST or _SHAPE.fullmatch(raw) is None:
        return False
    return raw[-_CHECKSUM_LENGTH:] == _checksum(raw[:-_CHECKSUM_LENGTH])


def holds_key(text: str) -> bool:
    """Tell whether there is something in a text that may be a raw key."""
    return _SHAPE.search(text) is not None


def hash_secret(raw: str, pepper: bytes) -> bytes:
    """Return what is stored of a key: BLAKE2b-256, keyed with the server's pepper (64 bytes)."""
    return hashlib.blake2b(raw.encode(), key=pepper, digest_size=32).digest()


def pepper_of(text: str) -> bytes:
    """Return the BLAKE2b key of a pepper text of any length."""
    return hashlib.blake2b(text.encode(), digest_size=64, person=b"pdp-pepper").digest()


def fingerprint_of(pepper: bytes) -> str:
    """Return what the database remembers of a pepper, to notice another one."""
    return hashlib.blake2b(pepper, digest_size=8, person=b"pdp-fingerprint").hexdigest()


def prefix_of(raw: str) -> str:
    """Return what may be shown of a key's beginning: up to four characters of its random part."""
    head, _, body = raw.rpartition("_")
    return f"{head}_{body[:4]}"


def last_four_of(raw: str) -> str:
    """Return what may be shown of a key's end."""
    return raw[-4:]


def _checksum(text: str) -> str:
    return _base62(crc32(text.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
