"""The architecture of the package: who imports whom, who inherits from whom, who sees the machine.

From the inside to the outside: the machine, the runtime, the parts of the pool, the pool, and
everything else. The text of the source is read, so that imports within functions count, too.
Imports for type checkers do nothing at run time. They are listed on their own.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Generic, NamedTuple

import pytest

from nodetool.concurrency import AsyncResourcePool
from tests.inside import PoolMachine, new_machine

PACKAGE = "nodetool.concurrency"
SOURCE = Path(__file__).parents[1] / "src" / "nodetool" / "concurrency"

LAYERS = (
    ("_errors", "_habits", "_stats"),
    ("_machine",),
    ("_messages", "_interruptions"),
    ("_runtime",),
    ("_tracking", "_recorder", "_trace_writer", "listener", "_contexts"),
    ("trace",),
    ("_types",),
    ("_options",),
    ("_acquire_context",),
    ("async_resource_pool",),
    ("",),  # the package itself
    ("otel", "testing", "timeline", "verify"),
)
"""Modules and packages, from the inside to the outside. A layer imports only from those before."""

PURE = ("asyncio", "threading", "logging", "time", "_thread", "socket", "concurrent")
"""Modules that the machine does not need, because it performs nothing."""

TYPES_ONLY = {
    ("_machine.slots", "asyncio"): "the runtime keeps its futures in waiters",
}
"""Imports for type checkers that go outwards."""


class Import(NamedTuple):
    """An import of one module by another. Names within the package are relative to it."""

    by: str
    of: str
    types_only: bool
    line: int


def name_of(file: Path) -> str:
    """Return the name of a module of the package, relative to it; "" is the package itself."""
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in sorted(SOURCE.rglob("*.py"))}


def relative(module: str) -> str:
    """Return a module's name relative to the package, if it is in the package."""
    return module.removeprefix(PACKAGE).removeprefix(".") if module.startswith(PACKAGE) else module


def imported(node: ast.AST, by: str, is_package: bool) -> Iterator[str]:
    """Yield the absolute names of the modules that a node imports."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            base = module or ""
            if level:
                here = f"{PACKAGE}.{by}".rstrip(".").split(".")
                parent = here[: len(here) - level + is_package]
                base = ".".join([*parent, *([module] if module else [])])
            for alias in names:
                part = f"{base}.{alias.name}"
                yield part if relative(part) in MODULES and base.startswith(PACKAGE) else base


def imports_in(source: str, by: str, is_package: bool = False) -> list[Import]:
    """List the imports in the source of a module."""
    tree = ast.parse(source)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    return [
        Import(by, relative(module), id(node) in for_types, getattr(node, "lineno", 0))
        for node in ast.walk(tree)
        for module in imported(node, by, is_package)
    ]


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(
        one
        for name, file in MODULES.items()
        for one in imports_in(file.read_text("utf-8"), name, file.name == "__init__.py")
    )


def part_of(module: str) -> str:
    """Return the part that a module belongs to: a module or a package."""
    return module.partition(".")[0]


def layer_of(module: str) -> int:
    part = part_of(module)
    (layer,) = (number for number, names in enumerate(LAYERS) if part in names)
    return layer


def cycle(imports: list[Import]) -> list[str]:
    """Return the modules of one cycle, if there is any."""
    edges: dict[str, list[str]] = {}
    for one in imports:
        if one.of in MODULES and one.of != one.by:
            edges.setdefault(one.by, []).append(one.of)
    done: set[str] = set()

    def search(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module not in done:
            for other in edges.get(module, ()):
                if found := search(other, [*path, module]):
                    return found
            done.add(module)
        return []

    for module in sorted(edges):
        if found := search(module, []):
            return found
    return []


# Imports.


def test_each_module_is_in_one_layer() -> None:
    assert len(MODULES) > 40
    for module in MODULES:
        layer_of(module)


def test_the_machine_imports_nothing_that_performs() -> None:
    found = [
        one
        for one in all_imports()
        if part_of(one.by) == "_machine"
        and not one.types_only
        and (one.of.split(".")[0] in PURE or (one.of in MODULES and layer_of(one.of) > 1))
    ]
    assert not found


def test_a_layer_imports_only_from_the_layers_inside_of_it() -> None:
    found = [
        f"{one.by}:{one.line} imports {one.of}"
        for one in all_imports()
        if one.of in MODULES and not one.types_only
        if layer_of(one.of) > layer_of(one.by)
    ]
    assert not found


def test_the_parts_of_one_layer_do_not_import_each_other() -> None:
    found = [
        f"{one.by}:{one.line} imports {one.of}"
        for one in all_imports()
        if one.of in MODULES and not one.types_only
        if layer_of(one.of) == layer_of(one.by) < len(LAYERS) - 1
        if part_of(one.of) != part_of(one.by)
    ]
    assert not found


@pytest.mark.parametrize("types", [False, True], ids=["at run time", "for type checkers, too"])
def test_no_modules_import_each_other_in_a_cycle(types: bool) -> None:
    assert cycle([one for one in all_imports() if types or not one.types_only]) == []


def test_imports_for_type_checkers_against_the_direction_are_known() -> None:
    found = {
        (one.by, one.of)
        for one in all_imports()
        if one.types_only
        if (one.of in MODULES and layer_of(one.of) > layer_of(one.by))
        or (part_of(one.by) == "_machine" and one.of in PURE)
    }
    print(f"imports for type checkers only: {sorted(found)}")
    assert found == {*TYPES_ONLY}


@pytest.mark.parametrize(
    ("source", "by", "expected"),
    [
        ("import asyncio", "_machine.slots", "asyncio"),
        ("from .counts import Counts", "_machine.slots", "_machine.counts"),
        ("from . import counts", "_machine.slots", "_machine.counts"),
        ("from .._errors import ResourcePoolError", "_machine.slots", "_errors"),
        ("from nodetool.concurrency import _options", "verify._walk", "_options"),
        ("from nodetool.concurrency import PoolStats", "verify._walk", ""),
        ("def late():\n    from ._contexts import Contexts", "async_resource_pool", "_contexts"),
    ],
)
def test_each_kind_of_import_is_seen(source: str, by: str, expected: str) -> None:
    assert [(one.of, one.types_only) for one in imports_in(source, by)] == [(expected, False)]


def test_an_import_for_type_checkers_is_told_from_others() -> None:
    source = "if TYPE_CHECKING:\n    import asyncio\nelse:\n    import logging"
    assert [(one.of, one.types_only) for one in imports_in(source, "x")] == [
        ("asyncio", True),
        ("logging", False),
    ]


def test_a_cycle_is_found() -> None:
    made = [Import("_errors", "_stats", False, 1), Import("_stats", "_errors", False, 1)]
    assert cycle(made[:1]) == []
    assert cycle(made) == ["_errors", "_stats", "_errors"]


# Classes.

CORE = [name for name in MODULES if layer_of(name) < layer_of("")]


def classes_of(module: ModuleType) -> list[type]:
    members = vars(module).values()
    modules = (module.__name__, PACKAGE)  # public classes name the package as their module
    return [c for c in members if inspect.isclass(c) and c.__module__ in modules]


def test_the_pool_is_one_class() -> None:
    assert AsyncResourcePool.__mro__ == (AsyncResourcePool, Generic, object)
    assert PoolMachine.__mro__ == (PoolMachine, Generic, object)


@pytest.mark.parametrize("name", CORE)
def test_no_class_but_an_error_has_more_than_one_ancestor_of_the_package(name: str) -> None:
    for made in classes_of(importlib.import_module(f"{PACKAGE}.{name}")):
        if issubclass(made, Exception):
            continue  # errors form a hierarchy, so that one `except` clause catches several
        chain = [c.__qualname__ for c in made.__mro__ if c.__module__.startswith(PACKAGE)]
        assert len(chain) <= 2, f"{made.__qualname__} inherits from {chain[1:]}"


# The machine, seen from outside.

READ_ONLY = {"name", "limits", "outbox"}
METHODS = {name for name, one in vars(PoolMachine).items() if inspect.isfunction(one)}
QUESTIONS_AND_STEPS = {name for name in METHODS if not name.startswith("_")}
MAPPING = "verify._mapping"  # reads the machine's fields, to map its state to the specification's


class Touch(NamedTuple):
    """One use of an attribute of a machine."""

    line: int
    attribute: str
    writes: bool


def is_machine(node: ast.AST) -> bool:
    """Tell whether an expression is called a machine."""
    match node:
        case ast.Name(id="machine" | "_machine") | ast.Attribute(attr="machine" | "_machine"):
            return True
    return False


def touches(source: str) -> list[Touch]:
    """List the uses of the attributes of machines."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=value, attr=attribute, ctx=context) if is_machine(value):
                found.append(Touch(node.lineno, attribute, not isinstance(context, ast.Load)))
    return found


def test_the_three_properties_of_the_machine_cannot_be_set() -> None:
    machine = new_machine("m", 1)
    properties = {name for name, one in vars(PoolMachine).items() if isinstance(one, property)}
    assert properties == READ_ONLY
    for name in properties:
        with pytest.raises(AttributeError):
            setattr(machine, name, None)


@pytest.mark.parametrize(
    "name", [name for name in MODULES if not name.startswith("_machine") and name != MAPPING]
)
def test_outside_of_the_machine_only_its_questions_and_steps_are_used(name: str) -> None:
    found = [
        touch
        for touch in touches(MODULES[name].read_text(encoding="utf-8"))
        if touch.writes or touch.attribute not in QUESTIONS_AND_STEPS | READ_ONLY
    ]
    assert not found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("machine._size", Touch(1, "_size", False)),
        ("self._machine.size()", Touch(1, "size", False)),
        ("world.machine.limits = None", Touch(1, "limits", True)),
        ("del pool._machine._slots", Touch(1, "_slots", True)),
        ("driver.machine._size += 1", Touch(1, "_size", True)),
    ],
)
def test_each_use_of_a_machine_is_seen(source: str, expected: Touch) -> None:
    assert touches(source) == [expected]
