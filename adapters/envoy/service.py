"""Stub."""
from typing import Any
from msgspec import Struct
class EnvoyOptions(Struct, frozen=True):
    trusted_hops: int = 0
    strict_estimate: bool = False
def register(server: Any, engine: Any, options: EnvoyOptions) -> None:
    pass
