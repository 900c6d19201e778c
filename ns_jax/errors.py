"""The exceptions that a user is meant to read."""


class UserError(Exception):
    """Something the user can put right; `main` prints its one line and exits with code 2."""


class AnotherRunError(UserError):
    """Another run holds the workdir."""


class AgreedError(UserError):
    """A UserError that every host raises at the same place."""


class HostError(Exception):
    """Why a run of several hosts ends: a line that names the host, the same on all of them.

    Attributes:
      code: with which every process ends.
    """

    def __init__(self, line: str, code: int = 1):
        super().__init__(line)
        self.code = code


class Stopped(Exception):
    """SIGTERM was obeyed and nothing is lost; `main` prints its line and exits with code 143."""
