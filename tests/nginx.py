"""A real NGINX with the example configuration, only its ports and folders changed."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.ports import free_port
from tests.stack import Stack, eventually

EXAMPLE: Final = Path(__file__).parents[1] / "examples" / "nginx"
MISSING: Final = "NGINX with njs is missing: sudo apt-get install nginx libnginx-mod-http-js"


def find_nginx() -> str:
    """Return the path of the binary; a test that needs it fails without it."""
    module = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None or not module.exists():
        pytest.fail(MISSING)
    return found


class Nginx:
    """NGINX between clients, a PDP and a provider at `upstream` (a port).

    `port` takes HTTP/1.1, `port2` HTTP/2 without TLS. Usage lines go to `usage_port` over UDP
    and into `usage_log`. `edit` changes the text of the configuration, or of a file that it
    includes, where a test needs another one.
    """

    def __init__(
        self,
        folder: Path,
        stack: Stack,
        upstream: int,
        edit: Callable[[str], str] = str,
        *,
        config: str = "nginx.conf",
        usage_port: int = 0,
    ) -> None:
        self.port, self.port2, self.admin_port = free_port(), free_port(), free_port()
        self.usage_log = folder / "usage.log"
        self._folder = folder
        self._binary = find_nginx()
        self._error_log = folder / "error.log"
        self._config = folder / config
        for source in EXAMPLE.iterdir():
            text = source.read_text()
            if source.suffix in (".conf", ".inc"):
                text = edit(self._configured(text, stack, upstream, usage_port))
            (folder / source.name).write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def _configured(self, text: str, stack: Stack, upstream: int, usage_port: int) -> str:
        """Return a text with this test's ports and folders; temporary files go to the folder."""
        temporary = "".join(
            f"{kind}_temp_path {self._folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        replaced = {
            "user www-data;": f"{'user root;' if os.geteuid() == 0 else ''} daemon off;",
            "worker_processes auto;": "worker_processes 2;",
            "pid /run/nginx.pid;": f"pid {self._folder}/nginx.pid;",
            "error_log /var/log/nginx/error.log warn;": f"error_log {self._error_log} warn;",
            "http {\n": f"http {{\n{temporary}",
            "syslog:server=127.0.0.1:9292": f"syslog:server=127.0.0.1:{usage_port or free_port()}",
            "/var/log/nginx/pdp-usage.log": str(self.usage_log),
            "server 127.0.0.1:9292;": f"server 127.0.0.1:{stack.nginx_port};",
            "server 127.0.0.1:8080;": f"server 127.0.0.1:{self.admin_port};",
            "server 127.0.0.1:11000;": f"server 127.0.0.1:{upstream};",
            "listen 127.0.0.1:10080;": (
                f"listen 127.0.0.1:{self.port}; listen 127.0.0.1:{self.port2} http2;"
            ),
        }
        for old, new in replaced.items():
            text = text.replace(old, new)
        return text

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self._error_log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "-c", str(self._config), "-p", str(self._folder)],
                env={**os.environ, "PROVIDER_API_KEY": "sk-provider"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._listens, "NGINX listens")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self) -> str:
        """Return what NGINX has complained about."""
        return self._error_log.read_text()

    def reload(self) -> None:
        """Read the configuration again: new workers, and the old ones end when they are done."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def reopen(self) -> None:
        """Write to new logs from now on, as after rotation."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None
