"""The exception class of user errors."""


class KpodError(Exception):
    """An error that the user can fix, with a message of one line: what is wrong, and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """
