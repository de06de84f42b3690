"""The command line: parse, call, print."""

import sys

from seedwise.errors import Interrupted, UserError
from seedwise.machine import prepare_process


def main() -> None:
    """Run the command line; a mistake of the user's is one line and exit code 2, a stop is 130."""
    prepare_process()
    try:
        from seedwise.cli.app import run

        code = run()
        if sys.stdout is not None:  # closed by `>&-`
            sys.stdout.flush()
    except (UserError, Interrupted) as error:
        code = _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        code = _say("stopped", Interrupted.exit_code)
    except BrokenPipeError:  # `| head` has seen enough; what is left in the buffer must not be written at exit
        sys.stdout = None
        code = 141
    except OSError as error:  # the disk's or the terminal's fault, not the program's
        code = _say(f"{error.filename or 'output'}: {error.strerror or error}", UserError.exit_code)
    sys.exit(code)


def _say(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code
