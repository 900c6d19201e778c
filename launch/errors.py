"""The error that ends a launcher."""


class LaunchError(Exception):
    """An error that stops the launcher; its message is one line on the terminal."""
