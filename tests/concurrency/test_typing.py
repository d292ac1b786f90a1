"""The types that users see, as two type checkers see them."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from tests.public_api import MODULES

SAMPLE = Path(__file__).with_name("typing_sample.py")
ROOT = Path(__file__).parents[2]
# mypy would otherwise read an installed copy of the package.
PACKAGE = sorted(map(str, (ROOT / "src" / "nodetool" / "concurrency").glob("*.py")))

needs_pyright = pytest.mark.skipif(
    find_spec("pyright") is None, reason="pyright is not installed: pip install 'pyright[nodejs]'"
)


def strictly(*what: str) -> str:
    """Return the last line of mypy's report in strict mode, or the whole report of an error."""
    api = pytest.importorskip("mypy.api")
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--strict", "--cache-dir"]
    report, failure, _ = api.run([*options, str(ROOT / ".mypy_cache"), *PACKAGE, *what])
    assert failure == ""
    return str(report)


def pyright(*arguments: str) -> str:
    """Return the report of pyright."""
    ended = subprocess.run(
        [sys.executable, "-m", "pyright", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1", "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return ended.stdout.strip()


def test_types_are_inferred_and_wrong_uses_are_errors() -> None:
    report = strictly(str(SAMPLE))
    assert report == f"Success: no issues found in {len(PACKAGE) + 1} source files\n"
    wrong = re.findall(r"# type: ignore\[[\w, -]+\]$", SAMPLE.read_text(), re.MULTILINE)
    assert len(wrong) == 32, "each of these must be an error, or mypy says that it is unused"


@needs_pyright
def test_pyright_infers_the_same_types_and_finds_the_same_errors() -> None:
    assert pyright(str(SAMPLE)) == "0 errors, 0 warnings, 0 informations"


@needs_pyright
def test_the_types_of_all_public_names_are_complete() -> None:
    report = pyright("--verifytypes", "nodetool.concurrency", "--ignoreexternal")
    assert "Type completeness score: 100%" in report, report


def test_an_async_factory_alone_tells_the_resources_type(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from typing import assert_type\n"
        "from nodetool.concurrency import AsyncResourcePool\n"
        "async def connect() -> bytes: return bytes()\n"
        "async def use() -> None:\n"
        "    async with AsyncResourcePool(connect) as pool:\n"
        "        assert_type(pool, AsyncResourcePool[bytes])\n",
    )
    report = strictly(str(program))
    assert report == f"Success: no issues found in {len(PACKAGE) + 1} source files\n"


def test_the_package_says_that_it_is_typed() -> None:
    import nodetool.concurrency

    package = Path(nodetool.concurrency.__file__).parent
    assert (package / "py.typed").is_file()
    assert not (package.parent / "__init__.py").exists(), "nodetool is a namespace"


EVALUATE = """
import sys
import typing
from nodetool.concurrency import AsyncResourcePool

assert "datetime" not in sys.modules and "nodetool.concurrency.listener" not in sys.modules
print(typing.get_type_hints(AsyncResourcePool.acquire))
"""


def test_tools_can_evaluate_annotations_though_the_import_of_the_pool_is_small() -> None:
    program = [sys.executable, "-S", "-c", EVALUATE]
    source = {"PYTHONPATH": str(ROOT / "src")}
    output = subprocess.run(program, env=os.environ | source, capture_output=True, check=True)
    assert b"datetime.timedelta" in output.stdout


def annotated() -> Iterator[Any]:
    """List the public functions, classes, methods and properties."""
    for module in map(import_module, MODULES):
        for name in module.__all__:
            value = getattr(module, name)
            if not callable(value):
                continue
            yield pytest.param(value, id=f"{module.__name__}.{name}")
            for key, member in vars(value).items() if isinstance(value, type) else ():
                method = member.fget if isinstance(member, property) else member
                if inspect.isfunction(method) and (key == "__init__" or not key.startswith("_")):
                    yield pytest.param(method, id=f"{module.__name__}.{name}.{key}")


@pytest.mark.parametrize("subject", [*annotated()])
def test_each_public_annotation_can_be_evaluated(subject: Any) -> None:
    assert isinstance(get_type_hints(subject), dict)
