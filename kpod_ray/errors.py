"""The one exception a user is meant to read: what is wrong and what to do, in one line."""


class KpodError(Exception):
    """Something the user can mend. The command line prints its text and exits with code 2."""
