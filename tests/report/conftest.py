"""A run folder for the tests of the report."""

import pytest

from tests.report.made_run import make_run


@pytest.fixture(scope="package")
def made_run(tmp_path_factory):
    """The run of `make_run`. Its files are for all tests: copy it to change it."""
    return make_run(tmp_path_factory.mktemp("made") / "run", tmp_path_factory.mktemp("images"))
