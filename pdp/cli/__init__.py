"""`pdp`: the commands, over the same use cases as every other way in."""

import sys

from pdp.errors import PdpError


def main() -> None:
    """Run a command; a refusal is one line on stderr and status 1, never a traceback."""
    # The commands are imported late, so that a wrong one fails fast.
    from pdp.cli.commands import app

    try:
        app()
    except PdpError as error:
        if str(error):  # A child process may have said it already.
            sys.stderr.write(f"pdp: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
