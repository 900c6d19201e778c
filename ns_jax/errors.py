"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can put right; `main` prints its one line and exits with code 2."""
