"""NGINX whose usage lines reach the PDP: over UDP alone, or by the file alone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tests.backdrop import Backdrop
from tests.nginx import Nginx

Channel = Literal["udp", "file"]

_LINES = {
    "udp": re.compile(r"access_log (?!syslog)[^;]+ pdp [^;]*;"),
    "file": re.compile(r"access_log syslog[^;]*;"),
}
"""What is taken out of the configuration."""


class Settling(Backdrop):
    """A PDP, NGINX and a provider; usage comes by one channel."""

    def __init__(
        self, folder: Path, channel: Channel, edit: Callable[[str], str] = str, **settings: str
    ) -> None:
        only = {"PDP_NGINX_USAGE_LISTEN": "off", "PDP_NGINX_USAGE_FILE": f"{folder}/usage.log"}
        super().__init__(folder, **(only if channel == "file" else {}), **settings)
        self.channel = channel
        self.nginx = Nginx(
            folder,
            self.stack,
            self.provider.port,
            lambda text: edit(_LINES[channel].sub("", text)),
            usage_port=self.stack.usage_port,
        )

    @property
    def url(self) -> str:
        return self.nginx.url

    def start(self) -> None:
        self.stack.start()
        self.nginx.start()

    def stop(self) -> None:
        self.close_clients()
        self.nginx.stop()
        self.stop_rest()
