"""Connections to a PostgreSQL server, if there is one."""

from __future__ import annotations

import os
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
from bench.size import Size

MAX_SIZE = 5
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


def lacks() -> str:
    """A server that somebody named, and a client."""
    named = os.environ.get("BENCH_POSTGRES") or os.environ.get("PGHOST")
    reasons = ["" if named else "neither BENCH_POSTGRES nor PGHOST is set"]
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
