"""The generated mutants: all that the operators of mutmut and two more make of the deciding code.

mutmut itself runs tests only, selects a mutant by a switch inside each function, and leaves out
decorated functions. Here each mutant is a file of its own, because then any checker can examine it.
Decorators are hidden from mutmut as comments.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping

import libcst as cst
from libcst.metadata import MetadataWrapper
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.mutators import OPERATORS_TYPE, mutation_operators
from mutmut.mutation.pragma_handling import get_ignored_lines

from proofs.mutant_ledger import Mutant

__all__ = ["CHAINS", "FILES", "Source", "generated", "unknown"]

FILES = {
    "_machine/counts.py": "counts",
    "_machine/containers.py": "machine",
    "_machine/machine.py": "machine",
}
DECORATOR, HIDDEN = "    @", "    # decorator: @"  # of a method

HEAVY = ("test_stateful", "test_stress", "test_debug_mode", "test_typing", "test_docstrings")
UNIT_TESTS = " ".join(
    ["tests tests/concurrency", *(f"--ignore=tests/concurrency/{name}.py" for name in HEAVY)]
)
FIRST_TESTS = " ".join(
    [
        "tests",
        *(f"tests/concurrency/test_{name}.py" for name in ("containers", "machine_steps")),
        "tests/concurrency/test_options.py",
    ]
)

# The checks of a generated mutant by layer, the cheapest first. They end with the first find.
CHAINS = {
    "counts": (
        *("counts graph", "contracts Wide", "contracts Checked", "contracts Resizing"),
        UNIT_TESTS,
    ),
    "machine": (
        *("graph Lowering", "graph SingleChecked", "contracts Wide", "contracts Checked"),
        *("contracts Resizing", "graph Rotating", "graph Shrinking", FIRST_TESTS, UNIT_TESTS),
        *("graph Restoring", "graph Checked", "graph Wide", "graph Deep", "graph Fifo"),
        "tests tests/concurrency --ignore=tests/concurrency/test_stateful.py",
    ),
}


def dropped(node: cst.Expr) -> Iterator[cst.CSTNode]:
    """Drop a call whose result is not used."""
    if isinstance(node.value, cst.Call):
        yield cst.Pass()


def negated(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    """Take the other branch. Comparisons and boolean operators are left to mutmut."""
    if isinstance(node.test, cst.Name | cst.Attribute | cst.Call):
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), node.test))


OPERATORS: OPERATORS_TYPE = [*mutation_operators, (cst.Expr, dropped), (cst.If, negated)]


def changed(before: str, after: str) -> str:
    """Return the lines from the first that differs to the last, as one line."""
    old, new = before.splitlines(), after.splitlines()
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    parts = (" ".join(map(str.strip, lines[start:])) for lines in (old, new))
    return " -> ".join(part or "nothing" for part in parts)


class Source:
    """A file, parsed, and the mutations of it or of some of its functions."""

    def __init__(self, file: str, text: str, functions: Container[str] | None = None) -> None:
        self.file = file
        hidden = re.sub(f"^{DECORATOR}", HIDDEN, text, flags=re.MULTILINE)
        wrapper = MetadataWrapper(cst.parse_module(hidden))
        visitor = MutationVisitor(OPERATORS, get_ignored_lines(file, hidden, wrapper, None), None)
        self.module = wrapper.visit(visitor)
        self.mutations = [
            (function, mutation)
            for mutation in visitor.mutations
            if isinstance(function := mutation.contained_by_top_level_function, cst.FunctionDef)
            and (functions is None or function.name.value in functions)
        ]

    def normal_form(self, function: cst.FunctionDef) -> str:
        """Return the code of a function without comments, one line for each simple statement."""
        return ast.unparse(ast.parse(self.module.code_for_node(function)))

    def names(self) -> Iterator[str]:
        """Name each mutation by file, function and change, however the file is formatted."""
        seen: Counter[str] = Counter()
        before: dict[cst.FunctionDef, str] = {}
        for function, mutation in self.mutations:
            if function not in before:
                before[function] = self.normal_form(function)
            mutated = function.deep_replace(mutation.original_node, mutation.mutated_node)
            after = self.normal_form(cst.ensure_type(mutated, cst.FunctionDef))
            name = f"{self.file.removesuffix('.py')}.{function.name.value}"
            name += f": {changed(before[function], after)}"
            seen[name] += 1
            yield name + f" ({seen[name]})" * (seen[name] > 1)

    def mutants(self) -> Iterator[Mutant]:
        for name, (_, mutation) in zip(self.names(), self.mutations, strict=True):
            other = self.module.deep_replace(mutation.original_node, mutation.mutated_node)
            code = cst.ensure_type(other, cst.Module).code
            rewritten = {self.file: code.replace(HIDDEN, DECORATOR)}
            yield Mutant(name, FILES[self.file], name.partition(".")[2], rewritten=rewritten)


def generated(originals: Mapping[str, str]) -> list[Mutant]:
    """Return every generated mutant of the files."""
    return [mutant for file in FILES for mutant in Source(file, originals[file]).mutants()]


def unknown(names: Collection[str], originals: Mapping[str, str]) -> dict[str, str]:
    """Return those of the names that no generated mutant has, each with the most similar name."""
    known: list[str] = []
    for file in FILES:
        begin = file.replace(".py", ".")
        of_file = [name.removeprefix(begin) for name in names if name.startswith(begin)]
        if not of_file or file not in originals:
            continue
        functions = {name.partition(":")[0] for name in of_file}
        known += Source(file, originals[file], functions).names()
    missing = {name: difflib.get_close_matches(name, known, 1, 0) for name in {*names} - {*known}}
    return {name: "".join(similar) or "nothing" for name, similar in sorted(missing.items())}
