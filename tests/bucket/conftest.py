"""One stand-in for all tests of a process: clients read its address once."""

import asyncio
import os

import pytest

from tests.bucket.faults import Faults
from tests.bucket.server import BucketServer


@pytest.fixture(scope="session")
def session_server():
    with BucketServer(needs_token=True) as server:
        before = dict(os.environ)
        os.environ.update(server.environment())
        yield server
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def server(session_server, request):
    """The stand-in without faults, with an empty bucket that is called 'pictures'."""
    session_server.objects.make_empty("pictures")
    session_server.faults, session_server.forbidden = Faults(), set()
    session_server.requests.clear()
    yield session_server
    session_server.faults, session_server.forbidden, session_server.writes_left = Faults(), set(), None
    assert not session_server.unknown


@pytest.fixture
def quick_retries(monkeypatch):
    """Clients wait a moment between their attempts, and not seconds."""
    sleep = asyncio.sleep

    async def short_sleep(seconds, *more):
        await sleep(min(seconds, 0.01), *more)

    monkeypatch.setattr("gcsfs.retry.asyncio.sleep", short_sleep)
