"""The version of the package; `setup.py` reads it here, and runs write it into their config.json."""

VERSION = "0.2.0"
