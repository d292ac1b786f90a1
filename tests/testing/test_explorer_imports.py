"""The explorer knows no pool: it imports nothing of the package outside of its own folder.

One exception is the package's version, which the explorer's command prints.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nodetool.concurrency.testing

PACKAGE = "nodetool.concurrency"
EXPLORER = f"{PACKAGE}.testing"
VERSION = f"{PACKAGE}.__version__"
FOLDER = Path(nodetool.concurrency.testing.__file__).parent


def imported_modules(source: str, package: str = EXPLORER) -> set[str]:
    """Return the absolute names that a module imports, also inside of functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: -node.level + 1 or None] if node.level else []
            module = [node.module] if node.module else []
            names |= {".".join([*parents, *module, alias.name]) for alias in node.names}
    return names


def foreign_imports(source: str) -> set[str]:
    """Return the imported names of this package outside of the explorer's folder."""
    return {
        name
        for name in imported_modules(source)
        if name != VERSION
        and f"{name}.".startswith("nodetool.")
        and not f"{name}.".startswith(f"{EXPLORER}.")
    }


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_a_module_of_the_explorer_imports_nothing_else_of_the_package(path: Path) -> None:
    assert foreign_imports(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import asyncio", set()),
        ("from ._events import Events", set()),
        ("from . import _parts as parts", set()),
        ("from nodetool.concurrency.testing import explore", set()),
        ("from nodetool.concurrency import __version__", set()),
        ("import nodetool.concurrency", {PACKAGE}),
        ("from nodetool.concurrency import _home", {f"{PACKAGE}._home"}),
        ("from .. import _home", {f"{PACKAGE}._home"}),
        ("from .._home import AtHome", {f"{PACKAGE}._home.AtHome"}),
        ("from ..testing_tools import x", {f"{PACKAGE}.testing_tools.x"}),
        ("def f():\n    from ..verify import _graph", {f"{PACKAGE}.verify._graph"}),
        ("if TYPE_CHECKING:\n    import nodetool.other", {"nodetool.other"}),
    ],
)
def test_imports_of_the_package_are_recognized(source: str, found: set[str]) -> None:
    assert foreign_imports(source) == found


def test_the_import_of_the_explorer_loads_no_plugin() -> None:
    code = f"import sys, {EXPLORER}; print(*(n for n in sys.modules if '{PACKAGE}.verify' in n))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
