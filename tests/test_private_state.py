"""Only `tests/inside.py` reads private state; its imports of private modules serve all tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parent
PACKAGE = "nodetool.concurrency"

# The tools of the project. Their modules are private to users of the package, not to tests of the
# tools, which use the public names of these modules. Private names stay private here, too.
TOOLS = (f"{PACKAGE}.verify.", f"{PACKAGE}.testing.", f"{PACKAGE}.timeline.")

# Names with an underscore that their documentation makes public.
PUBLIC = {"_asdict", "_exit", "_field_defaults", "_fields", "_make", "_replace"}

FREE = {
    "inside.py": "the module for private state",
    "test_architecture.py": "it names modules and fields, and reads no state",
    "test_private_state.py": "its examples break the rule",
}

THIRD_PARTY = {
    "otel/test_otel.py": {
        "opentelemetry.semconv._incubating.attributes": "the only place of the conventions",
        "opentelemetry.semconv._incubating.metrics": "the only place of the conventions",
    },
    "otel/test_otel_pools.py": {
        "_internal": "OpenTelemetry can set its global provider only once in a process",
        "opentelemetry.util._once": "as above",
        "_METER_PROVIDER": "as above",
        "_METER_PROVIDER_SET_ONCE": "as above",
        "_PROXY_METER_PROVIDER": "as above",
        "_ProxyMeterProvider": "as above",
    },
    "proofs/test_crosshair_search.py": {
        "_checkers": "the functions by which icontract enforces contracts",
        "_assert_invariant": "one of them",
        "_assert_postconditions": "one of them",
    },
    "resources/test_sqlite.py": {
        "_connection_worker_thread": "how aiosqlite names its threads",
        "_conn": "the connection of sqlite3 under that of aiosqlite",
    },
    "resources/valkey.py": {
        "_reader": "redis does not wait until the server has closed the connection",
        "_writer": "as above",
    },
    "testing/test_cli.py": {"_get_running_loop": "asyncio documents it for its own use only"},
    "testing/test_explore.py": {
        "_all_tasks": "where asyncio registers tasks in some versions",
        "_scheduled_tasks": "where asyncio registers tasks in other versions",
        "_asyncio_future_blocking": "the protocol between a future and its task",
    },
    "testing/test_fingerprint_sound.py": {"_abc_data": "a class of C with this name"},
}
"""Private names of other projects, by the file that needs them."""


class Use(NamedTuple):
    """One use of a private name that is not one's own."""

    line: int
    name: str
    text: str


def is_private(name: str) -> bool:
    return name[:1] == "_" and name[:2] not in ("_", "__") and name not in PUBLIC


def private_module(module: str) -> bool:
    """Tell whether a module's dotted name has a private part, and it is no module of a tool."""
    return any(map(is_private, module.split("."))) and not module.startswith(TOOLS)


def names_private_state(text: str) -> bool:
    """Tell whether a text is a private name, as for `getattr`, or has one of a private module.

    Texts count, because they may be code for another process.
    """
    return f"{PACKAGE}._" in text or (text.isidentifier() and is_private(text))


def inner_texts(tree: ast.AST) -> set[int]:
    """Return the identities of the constants that are docstrings or ends of f-strings."""
    found: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=[_, *values]):
                found |= {id(value) for value in values if isinstance(value, ast.Constant)}
            case _:
                match getattr(node, "body", None):
                    case [ast.Expr(value=ast.Constant(value=str()) as constant), *_]:
                        found.add(id(constant))
    return found


def private_names(node: ast.AST) -> list[str]:
    """Return the private names that a node uses."""
    match node:
        case ast.Attribute(value=ast.Name(id="self" | "cls")):
            return []
        case ast.Attribute(attr=name):
            return [name] if is_private(name) else []
        case ast.ImportFrom(module=str() as module, names=names):
            imported = [alias.name for alias in names]
            if f"{module}.".startswith(TOOLS):  # its modules and their public names
                return [name for name in imported if is_private(name) and module not in PACKAGES]
            return [module] if private_module(module) else [*filter(is_private, imported)]
        case ast.Import(names=names):
            return [alias.name for alias in names if private_module(alias.name)]
        case ast.Constant(value=str() as text):
            return [text] if names_private_state(text) else []
    return []


PACKAGES = {tool.removesuffix(".") for tool in TOOLS}


def uses_of_private_state(source: str) -> Iterator[Use]:
    """Yield each use of a private name that is not one's own."""
    tree = ast.parse(source)
    left_out = inner_texts(tree)
    for node in ast.walk(tree):
        if id(node) not in left_out:
            for name in private_names(node):
                yield Use(getattr(node, "lineno", 0), name, ast.unparse(node))


def uses_in(file: str) -> list[Use]:
    return sorted(uses_of_private_state((TESTS / file).read_text(encoding="utf-8")))


@pytest.mark.untraced
def test_no_test_but_inside_reads_private_state() -> None:
    files = {file.relative_to(TESTS).as_posix() for file in TESTS.rglob("*.py")}
    found = [
        f"tests/{file}:{use.line}: {use.text}"
        for file in sorted(files - {*FREE})
        for use in uses_in(file)
        if use.name not in THIRD_PARTY.get(file, {})
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("file", FREE)
def test_each_file_without_the_rule_needs_that(file: str) -> None:
    assert uses_in(file)


@pytest.mark.parametrize("file", THIRD_PARTY)
def test_each_exception_for_another_project_is_needed(file: str) -> None:
    assert {*THIRD_PARTY[file]} <= {use.name for use in uses_in(file)}


@pytest.mark.parametrize(
    "source",
    [
        "pool._machine",
        "pool.machine._idle",
        "super()._close()",
        "pool._machine = None",
        "from nodetool.concurrency._machine.counts import Counts",
        "from nodetool.concurrency import _options",
        "import nodetool.concurrency._options",
        "from nodetool.concurrency.verify._walk import _difference",
        "from nodetool.concurrency.verify import _walk; _walk._difference",
        'getattr(loop, "_scheduled")',
        '[getattr(pool, name) for name in ("_loop", "closed")]',
        'monkeypatch.setattr(machine, "_close", None)',
        'mock.patch.object(machine, "_close", None)',
        'python("from nodetool.concurrency._machine.machine import PoolMachine")',
        'f"import nodetool.concurrency._options; {more}"',
    ],
)
def test_each_way_to_private_state_is_found(source: str) -> None:
    assert [use.line for use in uses_of_private_state(source)] == [1]


@pytest.mark.parametrize(
    "source",
    [
        "self._shut = True",
        "cls._shut",
        "stats._replace(size=1)",
        "os._exit(0)",
        "pool.__init__()",
        "from __future__ import annotations",
        '"""Tests of nodetool.concurrency._options."""',
        'getattr(pool, "closed")',
        'f"{kind}_time"',
        "from nodetool.concurrency.verify._walk import World",
        "from nodetool.concurrency.testing import _loop",
    ],
)
def test_what_is_public_or_ones_own_is_allowed(source: str) -> None:
    assert not [*uses_of_private_state(source)]
