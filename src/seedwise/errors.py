"""Errors that are the user's to mend: one clear line, exit code 2, no traceback."""


class UserError(Exception):
    """Something outside the program is wrong: a recipe, a path, an image, a damaged file.

    The message is one line that says what is wrong, where (file, line, column or image), and what to do. The command
    line prints it and exits with 2; from Python it is an ordinary exception.
    """

    exit_code = 2


class Interrupted(Exception):
    """Ctrl-C or SIGTERM reached a run. Its last checkpoint is on disk and `seedwise resume` continues from it."""

    exit_code = 130
