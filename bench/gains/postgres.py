"""Connections to a PostgreSQL server: a configured one, or one from a Python package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from bench.gains.work import (
    Measured,
    Source,
    Way,
    Work,
    WrongError,
    new_each_time,
    not_installed,
    pooled,
    timed,
)
from bench.servers import HOST, PostgreSQL, ServerError
from bench.size import Size

MAX_SIZE = 5
NEITHER = "neither BENCH_POSTGRES nor PGHOST is set, and no server could be started"
PATIENCE = 30.0  # seconds for opening or closing a connection


async def connect() -> Any:
    """Connect to the server in BENCH_POSTGRES, or in PGHOST and related variables."""
    asyncpg: Any = import_module("asyncpg")
    return await asyncpg.connect(os.environ.get("BENCH_POSTGRES") or None, timeout=PATIENCE)


async def disconnect(connection: Any) -> None:
    """Close a connection and wait until it is closed."""
    await connection.close(timeout=PATIENCE)


async def query(connection: Any, number: int) -> None:
    """Run a query that costs the server nothing and needs no table."""
    found = await connection.fetchval("select $1::integer + 1", number)
    if found != number + 1:
        raise WrongError(f"{number} + 1: {found}")


async def queries(way: Way[Any], size: Size) -> Measured:
    """Measure queries: each use of a connection is one query."""
    tasks, rounds = size.count(20, least=8), size.count(10)
    return await timed(Source(connect, disconnect), way, tasks, rounds, query)


def named() -> str | None:
    """Return the server that the environment names."""
    return os.environ.get("BENCH_POSTGRES") or os.environ.get("PGHOST")


@contextmanager
def a_server() -> Iterator[None]:
    """Start a server if the environment names none, and put its name into the environment."""
    with ExitStack() as stack:
        if not named():
            try:
                started = stack.enter_context(PostgreSQL())
            except ServerError:
                pass  # `lacks` reports it
            else:
                stack.callback(os.environ.pop, "BENCH_POSTGRES")
                os.environ["BENCH_POSTGRES"] = f"postgresql://postgres@{HOST}:{started.port}"
        yield


def lacks() -> str:
    """Say whether the server or the client is missing."""
    reasons = ["" if named() else NEITHER]
    return ", and ".join(filter(None, [*reasons, not_installed("asyncpg")]))


POOL = f"pool of {MAX_SIZE}"

QUERIES = Work(
    "PostgreSQL",
    "200 small queries by 20 tasks",
    queries,
    {"a new connection for each": new_each_time(), POOL: pooled(MAX_SIZE)},
    POOL,
    lacks,
)
