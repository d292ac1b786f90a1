"""Servers for the whole run, and who looks at them from their own side."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from bench.servers import PostgreSQL, Server, ServerError, Valkey
from tests.resources.postgresql import Admin, AsyncpgDriver, Driver, PsycopgDriver

NUMBERS = count(1)


@contextmanager
def running(kind: type[Server]) -> Iterator[Server]:
    """A server; without one its tests are skipped, but where CI=true they fail."""
    server = None
    try:
        server = kind()
        server.__enter__()
    except (ServerError, OSError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no {kind.name} here: {error}")
    try:
        yield server
    finally:
        server.__exit__()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    with running(PostgreSQL) as server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[Server]:
    with running(Valkey) as server:
        yield server


@pytest.fixture
def application() -> str:
    """What the sessions of one test are called on the server's side."""
    return f"pool-{next(NUMBERS)}"


@pytest.fixture(params=[AsyncpgDriver, PsycopgDriver], ids=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest, postgresql: Server, application: str) -> Driver:
    kind: type[AsyncpgDriver | PsycopgDriver] = request.param
    return kind(postgresql.port, application)


@pytest.fixture
async def admin(postgresql: Server, application: str) -> AsyncIterator[Admin]:
    """Sees the sessions of this test on the server's side."""
    admin = Admin(postgresql.port, application)
    yield admin
    await admin.close()
