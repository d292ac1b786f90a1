"""The types that users see, as a type checker sees them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nodetool.concurrency import AsyncResourcePool, PoolStats

SAMPLE = Path(__file__).with_name("typing_sample.py")
ROOT = Path(__file__).parents[2]


def strictly(*what: str) -> str:
    """Return the report of mypy in strict mode."""
    api = pytest.importorskip("mypy.api")
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--strict", "--cache-dir"]
    report, failure, _ = api.run([*options, str(ROOT / ".mypy_cache"), *what])
    assert failure == ""
    return str(report)


def test_types_are_inferred_and_wrong_uses_are_errors() -> None:
    report = strictly(str(SAMPLE))
    assert report == "Success: no issues found in 1 source file\n"
    wrong = re.findall(r"# type: ignore\[[\w, -]+\]$", SAMPLE.read_text(), re.MULTILINE)
    assert len(wrong) == 19, "each of these must be an error, or mypy says that it is unused"


PUBLIC_IMPORT = """from nodetool.concurrency import (
    AsyncResourcePool,
    PoolStats,
"""

SECOND_IMPORT = f"""from {AsyncResourcePool.__module__} import AsyncResourcePool
from {PoolStats.__module__} import PoolStats
from nodetool.concurrency import (
"""

SECOND_SAMPLE = """
async def new() -> None:
    AsyncResourcePool(connect, check_timeout=1, reset_timeout=None, reuse="fifo")
    await pool.open(wait=True, timeout=timedelta(seconds=1))
    await pool.resize(3, 2, wait=True)
    assert_type(pool.stats().waited_seconds, float)
    made = AsyncResourcePool.from_context(entered, max_size=2, check=Connection.ping)
    assert_type(made, AsyncResourcePool[Connection])


@asynccontextmanager
async def entered() -> AsyncIterator[Connection]:
    yield Connection()


async def new_and_wrong() -> None:
    AsyncResourcePool(connect, reuse="filo")  # type: ignore[call-overload]
    AsyncResourcePool(connect, check_timeout="1")  # type: ignore[call-overload]
    await pool.open(timeout="1")  # type: ignore[arg-type]
    await pool.resize("3")  # type: ignore[arg-type]
    await pool.resize(3, 2, True)  # type: ignore[call-arg]
    AsyncResourcePool.from_context(entered, maximum=5)  # type: ignore[call-arg]
    AsyncResourcePool.from_context(entered, closer=print)  # type: ignore[call-arg]
"""


@pytest.mark.second
def test_types_are_inferred_for_the_second_semantics() -> None:
    sample = SAMPLE.read_text()
    assert PUBLIC_IMPORT in sample
    sample = sample.replace(PUBLIC_IMPORT, SECOND_IMPORT)
    sample = sample.replace("import Awaitable", "import AsyncIterator, Awaitable")
    sample = sample.replace("import asyncio", "import asyncio\nfrom contextlib import *")
    report = strictly("-c", sample + SECOND_SAMPLE)
    assert report == "Success: no issues found in 1 source file\n"


def test_an_async_factory_alone_tells_the_resources_type() -> None:
    report = strictly(
        "-c",
        "from typing import assert_type\n"
        "from nodetool.concurrency import AsyncResourcePool\n"
        "async def connect() -> bytes: return bytes()\n"
        "async def use() -> None:\n"
        "    async with AsyncResourcePool(connect) as pool:\n"
        "        assert_type(pool, AsyncResourcePool[bytes])\n",
    )
    assert report == "Success: no issues found in 1 source file\n"


def test_the_package_says_that_it_is_typed() -> None:
    import nodetool.concurrency

    package = Path(nodetool.concurrency.__file__).parent
    assert (package / "py.typed").is_file()
    assert not (package.parent / "__init__.py").exists(), "nodetool is a namespace"
