"""`pdp`: the commands, over the same use cases as every other way in."""

import os
import sys

from pdp.errors import InvalidDocument, PdpError, StartRefused


def main() -> None:
    """Run a command; a refusal is status 1 and a line on stderr for each fault, no traceback."""
    try:
        _put_settings_in_upper_case()
        _refuse_what_is_no_text()
        # The commands are imported late, so that a wrong one fails fast.
        from pdp.cli.commands import app

        app()
    except InvalidDocument as error:
        sys.stderr.writelines(f"pdp: {_line(problem)}\n" for problem in error.problems)
        sys.exit(1)
    except PdpError as error:
        if str(error):  # A child process may have said it already.
            sys.stderr.write(f"pdp: {_line(error)}\n")
        sys.exit(1)
    except OSError as error:  # Above all stdout: a full disk behind `>`.
        where = f"`{error.filename}`: " if error.filename else ""
        sys.stderr.write(f"pdp: {where}{(error.strerror or str(error)).lower()}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _line(what: object) -> str:
    """Return text as one line, whatever somebody has given that stands in it."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(what)
    )


def _put_settings_in_upper_case() -> None:
    """Let names of settings be in lower case here, and have one form for whoever comes after.

    Who is not to have a setting could be given it by its other name. One in upper case goes
    first.
    """
    for name in [*os.environ]:
        upper = name.upper()
        if name != upper and upper.startswith("PDP_"):
            os.environ.setdefault(upper, os.environ.pop(name))


def _refuse_what_is_no_text() -> None:
    """Refuse bytes that are not UTF-8: they would fail wherever they are stored or printed."""
    given = {f"argument {index}": text for index, text in enumerate(sys.argv) if index}
    given |= {name: text for name, text in os.environ.items() if name.startswith("PDP_")}
    for what, text in given.items():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise StartRefused(f"{what} is not UTF-8: write it in UTF-8") from error
