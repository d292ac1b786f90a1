"""Digests of the sources of each checker. They tell whether a report is older than its sources.

A digest covers the modules that a checker imports, and its data. It leaves out what changes no
verdict: comments, docstrings and layout. It is the same in every version of Python.

    python -m proofs.digests           list the number of sources of each checker, and its digest
    python -m proofs.digests TLC ...   list the sources of some checkers
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["digest", "sources"]

ROOT = Path(__file__).parents[1]
PACKAGES = {"nodetool": ROOT / "src", "proofs": ROOT, "spec": ROOT, "tests": ROOT}

REPORTING = ("proofs.places", "proofs.report", "proofs.guarantees", "proofs.mutant_ledger")
"""Modules that count and print what the checkers found, and find nothing themselves."""

VERIFY = "nodetool.concurrency.verify"
GRAPHS = "src/nodetool/concurrency/verify/graphs/*"
SPEC = ("spec/*.tla", "spec/*.toml", "spec/models/*")
POOL = "src/nodetool/concurrency/**/*.py"

MODULES: dict[str, tuple[str, ...]] = {
    "TLC": ("spec.__main__",),
    "graph equality": ("proofs.graph_walks", "proofs.counts_graph", "proofs.broken_machines"),
    "CrossHair": ("proofs.crosshair_run",),
    "Z3": ("proofs.z3_counts", "proofs.z3_identities", "proofs.z3_tie", "proofs.z3_bugs"),
    "CrossHair search": ("proofs.crosshair_search",),
    "contracts": ("proofs.random_moves", "proofs.one_contract", "proofs.broken_machines"),
    "Hypothesis": (f"{VERIFY}._rules", f"{VERIFY}._machine_rules", "proofs.broken_machines"),
    "schedules": ("proofs.schedules", "proofs.broken_machines"),
    "tests": ("proofs.broken_machines",),
    "mutants": ("proofs.mutants",),
}
"""The modules that each checker starts from."""

FILES: dict[str, tuple[str, ...]] = {
    "TLC": SPEC,
    "graph equality": (*SPEC, GRAPHS, "proofs/counts.graph.gz"),
    "Z3": (GRAPHS,),
    "contracts": (GRAPHS, "src/nodetool/concurrency/_machine/*.py"),
    "Hypothesis": (GRAPHS,),
    "tests": (POOL, "tests/*.py", "tests/concurrency/**/*.py"),
    "mutants": (*SPEC, GRAPHS, POOL, "proofs/**/*.py", "proofs/*.toml", "tests/**/*.py"),
}
"""The files that a checker reads but does not import."""


def path_of(module: str) -> Path | None:
    """Return the file of a module or a package of this project, or None for all others."""
    folder = PACKAGES.get(module.partition(".")[0])
    if folder is None:
        return None
    place = folder.joinpath(*module.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.exists()), None)


def name_of(file: Path) -> str:
    """Return the name of the module in a file of this project."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[1:] if parts[0] == "src" else parts)


@cache
def imports(file: Path) -> frozenset[Path]:
    """List the files of this project that a module imports."""
    parts = name_of(file).split(".")  # of a package it ends with "__init__"
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if path_of(name) else base for name in names]
        else:
            continue
        found.update(names)
    return frozenset(filter(None, map(path_of, found - {*REPORTING})))


def sources(place: str) -> list[Path]:
    """List the files that decide what a checker finds."""
    found: set[Path] = set()
    new = {*filter(None, map(path_of, MODULES[place]))}
    while new:
        found |= new
        new = {one for file in new for one in imports(file)} - found
    matches = {file for pattern in FILES.get(place, ()) for file in ROOT.glob(pattern)}
    return sorted(found | {file for file in matches if file.is_file()})


def shape(node: object) -> Iterator[str]:
    """Yield what a syntax tree means: its nodes and values, without docstrings and positions."""
    if isinstance(node, ast.AST):
        yield type(node).__name__
        for field, value in ast.iter_fields(node):
            if value is not None and value != []:  # some versions of Python leave these out
                yield field
                yield from shape(value)
    elif isinstance(node, list):
        for one in node:
            is_text = isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
            if not (is_text and isinstance(one.value.value, str)):
                yield from shape(one)
        yield "end"
    else:
        yield repr(node)


@cache
def content(file: Path) -> bytes:
    """Return the part of a file that can change a verdict."""
    data = file.read_bytes()
    if file.suffix == ".py":
        return "\n".join(shape(ast.parse(data))).encode()
    if file.suffix == ".tla":
        text = re.sub(r"\(\*.*?\*\)|\\\*[^\n]*", "", data.decode(), flags=re.DOTALL)
        return " ".join(text.split()).encode()
    return data


@cache
def digest(place: str) -> str:
    """Return the digest of a checker's sources, as they are when the program asks first."""
    found = hashlib.sha256()
    for file in sources(place):
        found.update(f"{file.relative_to(ROOT).as_posix()}\n".encode())
        found.update(hashlib.sha256(content(file)).digest())
    return found.hexdigest()[:16]


if __name__ == "__main__":
    for chosen in sys.argv[1:] or MODULES:
        files = sources(chosen)
        print(f"{chosen:<17} {len(files):>4} files  {digest(chosen)}")
        for one in files if sys.argv[1:] else ():
            print(f"  {one.relative_to(ROOT)}")
