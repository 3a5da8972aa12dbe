"""Compiled keys in memory: filled from the control plane, emptied by its changes.

Rules, on which revocation rests:
- An entry is used only while the watch has been alive within `max_staleness`.
- A change drops every entry whose chains hold the changed key.
- A fill that was in flight when a change to its chains came in is thrown away and
  done again, so that an old answer cannot resurrect what the change dropped.
- "Certainly unknown" is only said while the watch is alive; else it is a 503.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import structlog

from pdp.compile import Compiler
from pdp.data.quiet import Quiet
from pdp.errors import UNDECIDED, InvalidDocument, Unavailable
from pdp.key import CompiledKey
from pdp.model import Resolved
from pdp.ports import Clock
from pdp.secret import LONGEST, is_well_formed

_log = structlog.get_logger(__name__)

_SECOND = 1_000_000_000
