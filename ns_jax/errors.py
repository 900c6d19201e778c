"""The exceptions that a user is meant to read."""


class UserError(Exception):
    """Something the user can put right; `main` prints its one line and exits with code 2."""


class Stopped(Exception):
    """SIGTERM was obeyed and nothing is lost; `main` prints its line and exits with code 143."""
