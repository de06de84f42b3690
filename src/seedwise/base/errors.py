"""Errors that the user can mend: one line, exit code 2, no traceback."""

from collections.abc import Sequence


class UserError(Exception):
    """Something outside the program is wrong: a recipe, a path, an image, a damaged file.

    The message is one line that says what is wrong, where (file, line, column or image), and what to do. The command
    line prints it and exits with 2; from Python it is an ordinary exception.
    """

    exit_code = 2

    @property
    def lines(self) -> tuple[str, ...]:
        """The message as the command line prints it, whatever the names in it hold."""
        return (str(self),)


class Mistakes(UserError):
    """Several mistakes at once, a line each."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self._lines = tuple(lines)

    @property
    def lines(self) -> tuple[str, ...]:
        """The messages, one a mistake."""
        return self._lines


class Interrupted(Exception):
    """Ctrl-C or SIGTERM reached a run. Its last checkpoint is on disk and `seedwise resume` continues from it."""

    exit_code = 130


def first_sentence(error: BaseException) -> str:
    """The start of an exception's message, without line breaks, fit for the inside of our one line.

    What follows is advice to programmers; torch's, for one, is to unpickle what it just refused.
    """
    message = " ".join(str(error).split()).split(". ")[0].rstrip(".:") or type(error).__name__
    return message if len(message) <= 160 else message[:157] + "..."


def in_words(error: BaseException) -> str:
    """An exception as one line: the message of a UserError or Interrupted, else its class and how its message
    starts."""
    expected = isinstance(error, UserError | Interrupted)
    return str(error) if expected else f"{type(error).__name__}: {first_sentence(error)}"
