"""The two planes apart: each a `pdp serve` of its own, over TCP with mutual TLS."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.pki import Authority, Shown
from tests.ports import free_port
from tests.stack import Stack, eventually

PEPPER = "the pepper of planes that live apart"


class Planes(NamedTuple):
    """A control plane that all may reach, and a data plane with nothing of its data."""

    control: Stack
    data: Stack
    authority: Authority

    def launch_control(self) -> None:
        """Start the control plane and wait until it says that it is ready."""
        before = self.control.log().count('"event": "ready"')
        self.control.launch()
        ready = lambda: self.control.log().count('"event": "ready"') > before  # noqa: E731
        eventually(ready, "the control plane is ready")


def shows(stack: Stack, shown: Shown, ca: Path) -> None:
    """Give a plane its certificate and the CA that it believes."""
    stack.environment["PDP_CONTROL_TLS_CERT"] = str(shown.cert)
    stack.environment["PDP_CONTROL_TLS_KEY"] = str(shown.key)
    stack.environment["PDP_CONTROL_TLS_CA"] = str(ca)


def data_plane_of(folder: Path, port: int, shown: Shown, ca: Path) -> Stack:
    """Return a data plane in a folder of its own, for the control plane at a port."""
    folder.mkdir()
    stack = Stack(folder, PDP_KEY_PEPPER=PEPPER, PDP_CONTROL_URL=f"127.0.0.1:{port}")
    stack.environment["PDP_CONTROL_TLS_NAME"] = "control.test"
    stack.arguments = ("--plane", "data")
    shows(stack, shown, ca)
    return stack


@contextmanager
def planes_apart(folder: Path, **of_data: str) -> Iterator[Planes]:
    """Give both planes, running; the control plane listens for all the world.

    `of_data`: settings of the data plane.
    """
    port = free_port()
    (folder / "control").mkdir()
    authority = Authority(folder)
    control = Stack(folder / "control", PDP_KEY_PEPPER=PEPPER, PDP_CONTROL_LISTEN=f"0.0.0.0:{port}")
    control.arguments = ("--plane", "control")
    shows(control, authority.issue("control", "control.test"), authority.ca)
    data = data_plane_of(folder / "data", port, authority.issue("data"), authority.ca)
    data.environment.update(of_data)
    control.init()
    planes = Planes(control, data, authority)
    try:
        planes.launch_control()
        data.start()
        yield planes
    finally:
        data.stop()
        control.stop()
