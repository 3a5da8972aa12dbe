"""`pdp`: the commands, over the same use cases as every other way in."""

import os
import sys

from pdp.errors import InvalidDocument, PdpError, StartRefused


def main() -> None:
    """Run a command; a refusal is status 1 and a line on stderr for each fault, no traceback."""
    try:
        _refuse_what_is_no_text()
        # The commands are imported late, so that a wrong one fails fast.
        from pdp.cli.commands import app

        app()
    except InvalidDocument as error:
        sys.stderr.writelines(f"pdp: {problem}\n" for problem in error.problems)
        sys.exit(1)
    except PdpError as error:
        if str(error):  # A child process may have said it already.
            sys.stderr.write(f"pdp: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse_what_is_no_text() -> None:
    """Refuse bytes that are not UTF-8: they would fail wherever they are stored or printed."""
    given = {f"argument {index}": text for index, text in enumerate(sys.argv) if index}
    given |= {name: text for name, text in os.environ.items() if name.startswith("PDP_")}
    for what, text in given.items():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise StartRefused(f"{what} is not UTF-8: write it in UTF-8") from error
