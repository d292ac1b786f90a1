"""Connections to a PostgreSQL server: one that is named, or else one out of a Python package."""

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
    anew,
    not_installed,
    pooled,
    timed,
)
from bench.servers import HOST, PostgreSQL, ServerError
from bench.size import Size

MAX_SIZE = 5
NEITHER = "neither BENCH_POSTGRES nor PGHOST is set, and no server could be started"
PATIENCE = 30.0  # seconds to open or to close one


async def connect() -> Any:
    """To what BENCH_POSTGRES names, or else PGHOST and its like."""
    asyncpg: Any = import_module("asyncpg")
    return await asyncpg.connect(os.environ.get("BENCH_POSTGRES") or None, timeout=PATIENCE)


async def disconnect(connection: Any) -> None:
    """In peace."""
    await connection.close(timeout=PATIENCE)


async def query(connection: Any, number: int) -> None:
    """A query that costs the server nothing and needs no table."""
    found = await connection.fetchval("select $1::integer + 1", number)
    if found != number + 1:
        raise WrongError(f"{number} + 1: {found}")


async def queries(way: Way[Any], size: Size) -> Measured:
    """Each use is one query."""
    tasks, rounds = size.count(20, least=8), size.count(10)
    return await timed(Source(connect, disconnect), way, tasks, rounds, query)


def named() -> str | None:
    """The server that somebody named."""
    return os.environ.get("BENCH_POSTGRES") or os.environ.get("PGHOST")


@contextmanager
def a_server() -> Iterator[None]:
    """If nobody named a server, start and name one, where that can be done."""
    with ExitStack() as stack:
        if not named():
            try:
                started = stack.enter_context(PostgreSQL())
            except ServerError:
                pass  # `lacks` has it
            else:
                stack.callback(os.environ.pop, "BENCH_POSTGRES")
                os.environ["BENCH_POSTGRES"] = f"postgresql://postgres@{HOST}:{started.port}"
        yield


def lacks() -> str:
    """A server, and a client."""
    reasons = ["" if named() else NEITHER]
    return ", and ".join(filter(None, [*reasons, not_installed("asyncpg")]))


POOL = f"pool of {MAX_SIZE}"

QUERIES = Work(
    "PostgreSQL",
    "200 small queries by 20 tasks",
    queries,
    {"a new connection for each": anew(), POOL: pooled(MAX_SIZE)},
    POOL,
    lacks,
)
