"""The layers of the project: nothing outside `tests` imports `tests`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("src", "spec", "proofs", "bench", "demo")


def imported(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the module of each import, at any depth, relative ones excluded."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(IMPORTERS):
            yield from (
                (node.lineno, argument.value)
                for argument in node.args
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            )


IMPORTERS = ("import_module", "__import__", "run_module")


def imports_of_tests(text: str) -> list[int]:
    """Return the lines on which `tests` or a part of it is imported."""
    return [line for line, module in imported(text) if module.split(".")[0] == "tests"]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_does_not_import_the_tests(layer: str) -> None:
    files = sorted((ROOT / layer).rglob("*.py"))
    assert files
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in files
        for line in imports_of_tests(file.read_text(encoding="utf-8"))
    ]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "import tests",
        "import os, tests.conftest",
        "from tests import conftest",
        "from tests.spec.test_graph import ENTRIES",
        "def late():\n    from tests import conftest",
        "import importlib\nimportlib.import_module('tests.conftest')",
    ],
)
def test_an_import_of_the_tests_is_noticed(text: str) -> None:
    assert imports_of_tests(text) == [len(text.splitlines())]


def test_other_imports_are_no_imports_of_the_tests() -> None:
    assert not imports_of_tests("import testing\nfrom proofs import tests\nfrom . import tests")
