"""Schemathesis against a running server: `python -m tests.e2e.rest.explore [OPTIONS]`."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.stack import Stack

LEFT_OUT = "positive_data_acceptance"
"""What OpenAPI cannot say: which timezones, parents and cursors there are, and that a whole
number is written without a fraction."""

THOROUGH = ("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "100")


def explore(stack: Stack, *options: str) -> subprocess.CompletedProcess[str]:
    """Run schemathesis with the root key of a stack that runs."""
    return subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "run"),
            f"http://127.0.0.1:{stack.http_port}/openapi.json",
            *("--header", f"Authorization: Bearer {stack.root['api_key']}"),
            *("--checks", "all", "--exclude-checks", LEFT_OUT, "--no-color", "--warnings", "off"),
            *("--generation-database", ":memory:", *options),
        ],
        cwd=stack.folder,
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def main(options: list[str]) -> int:
    """Explore a server of its own, thoroughly unless told otherwise; return the exit status."""
    with tempfile.TemporaryDirectory(prefix="pdp-explore-") as folder:
        stack = Stack(Path(folder))
        stack.init()
        stack.start()
        try:
            done = explore(stack, *(options or THOROUGH))
        finally:
            stack.stop()
        sys.stdout.write(done.stdout + done.stderr)
        errors = [line for line in stack.log().splitlines() if '"level": "error"' in line]
        sys.stdout.write("\n".join(errors))
        return done.returncode or bool(errors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
