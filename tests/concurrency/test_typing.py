"""The types that users see, as a type checker sees them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
    assert len(wrong) == 26, "each of these must be an error, or mypy says that it is unused"


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
