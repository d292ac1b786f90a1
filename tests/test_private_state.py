"""Only `tests/inside.py` reads private state; its imports of private modules serve all tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = "nodetool.concurrency"

# Names with an underscore that their documentation makes public.
PUBLIC = {"_asdict", "_exit", "_field_defaults", "_fields", "_make", "_replace"}

ALLOWED = {
    "inside.py": "the module for private state",
    "broken_machines.py": "its machines have bugs, so they override private steps of the machine",
    "concurrency/test_parts_old.py": "tests of private containers",
    "test_private_state.py": "its examples break the rule",
}

# Files that do not follow the rule yet.
PENDING = (
    "conftest.py",
    "otel/test_otel.py",
    "otel/test_otel_pools.py",
    "proofs/test_assurance.py",
    "proofs/test_counts_graph.py",
    "proofs/test_crosshair.py",
    "proofs/test_crosshair_search.py",
    "proofs/test_mutants.py",
    "proofs/test_z3_counts.py",
    "proofs/test_z3_identities.py",
    "resources/test_sqlite.py",
    "resources/valkey.py",
    "schedules/outside.py",
    "schedules/test_schedules.py",
    "schedules/test_second_opinion.py",
    "spec/test_graph.py",
    "spec/test_graph_equality.py",
    "spec/test_progress.py",
    "test_docs.py",
    "test_readme.py",
    "test_wheel.py",
    "testing/test_cli.py",
    "testing/test_explore.py",
    "testing/test_fingerprint.py",
    "testing/test_fingerprint_same.py",
    "testing/test_fingerprint_sound.py",
    "testing/test_left_over.py",
    "testing/test_loop.py",
    "testing/test_pools.py",
    "testing/test_stock.py",
    "timeline/test_drawing.py",
    "timeline/test_real_pool.py",
    "timeline/test_recording.py",
    "timeline/test_svg.py",
    "timeline/test_trace.py",
    "verify/conftest.py",
    "verify/machines.py",
    "verify/samples.py",
    "verify/test_command.py",
    "verify/test_following.py",
    "verify/test_graph.py",
    "verify/test_outside.py",
    "verify/test_resource.py",
    "verify/test_rules.py",
    "verify/test_walk.py",
    "virtual_time.py",
)


def is_private(name: str) -> bool:
    return name[:1] == "_" and name[:2] not in ("_", "__") and name not in PUBLIC


def private_part(module: str) -> bool:
    """Tell whether a module's dotted name has a private part."""
    return any(map(is_private, module.split(".")))


def names_private_state(text: str) -> bool:
    """Tell whether a text is a private name, as for `getattr`, or has one of a private module.

    Texts count, because they may be code for another process.
    """
    return f"{PACKAGE}._" in text or (text.isidentifier() and is_private(text))


def docstrings(tree: ast.AST) -> set[int]:
    """Return the identities of the constants that are docstrings."""
    found = set()
    for node in ast.walk(tree):
        match getattr(node, "body", None):
            case [ast.Expr(value=ast.Constant(value=str()) as constant), *_]:
                found.add(id(constant))
    return found


def uses_of_private_state(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each use of a private name that is not one's own."""
    tree = ast.parse(source)
    documentation = docstrings(tree)
    for node in ast.walk(tree):
        used = False
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name):
                used = is_private(name)
            case ast.ImportFrom(module=module, names=names):
                imported = [alias.name for alias in names]
                used = private_part(module or "") or any(map(is_private, imported))
            case ast.Import(names=names):
                used = any(private_part(alias.name) for alias in names)
            case ast.Constant(value=str() as text) if id(node) not in documentation:
                used = names_private_state(text)
            case _:
                continue
        if used:
            yield getattr(node, "lineno", 0), ast.unparse(node)


def violations(file: Path) -> list[str]:
    name = file.relative_to(TESTS).as_posix()
    uses = sorted(uses_of_private_state(file.read_text()))
    return [f"tests/{name}:{line}: {text}" for line, text in uses]


def test_no_test_but_inside_reads_private_state() -> None:
    files = [*TESTS.rglob("*.py")]
    names = {file.relative_to(TESTS).as_posix(): file for file in files}
    assert set(ALLOWED) <= set(names), "an exception is left for a file that is gone"
    checked = [file for name, file in names.items() if name not in {*ALLOWED, *PENDING}]
    found = [violation for file in checked for violation in violations(file)]
    assert not found, "\n" + "\n".join(found)


def test_every_exception_is_needed() -> None:
    for name in (*ALLOWED, *PENDING):
        assert violations(TESTS / name), f"{name} needs no exception"


@pytest.mark.parametrize(
    "source",
    [
        "pool._machine",
        "pool.machine._shelf",
        "super()._close()",
        "pool._machine = None",
        "from nodetool.concurrency._counts import Counts",
        "from nodetool.concurrency import _home",
        "import nodetool.concurrency._home",
        'getattr(loop, "_scheduled")',
        '[getattr(pool, name) for name in ("_loop", "closed")]',
        'monkeypatch.setattr(machine, "_close", None)',
        'mock.patch.object(machine, "_close", None)',
        'python("from nodetool.concurrency._machine import PoolMachine")',
        'f"import nodetool.concurrency._machine; {more}"',
    ],
)
def test_each_way_to_private_state_is_found(source: str) -> None:
    assert [line for line, _ in uses_of_private_state(source)] == [1]


@pytest.mark.parametrize(
    "source",
    [
        "self._shut = True",
        "cls._shut",
        "stats._replace(size=1)",
        "os._exit(0)",
        "pool.__init__()",
        "from __future__ import annotations",
        '"""Tests of nodetool.concurrency._counts."""',
        'getattr(pool, "closed")',
    ],
)
def test_what_is_public_or_ones_own_is_allowed(source: str) -> None:
    assert not [*uses_of_private_state(source)]
