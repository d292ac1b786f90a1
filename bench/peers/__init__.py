"""Other pools, each with connections that connect to nothing.

A peer's module is imported at its first use. A peer that is not installed is skipped.
"""

from __future__ import annotations

from bench.contenders import Contender

from .databases import AiosqlitePool, RedisPool, SqlalchemyPool
from .general import AsyncioConnectionPool, ConnPool, GenericConnectionPool
from .postgres import AsyncpgPool, PsycopgPool

PEERS: tuple[Contender, ...] = (
    PsycopgPool(),
    AsyncpgPool(),
    SqlalchemyPool(),
    RedisPool(),
    AiosqlitePool(),
    ConnPool(),
    AsyncioConnectionPool(),
    GenericConnectionPool(),
)
