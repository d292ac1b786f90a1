"""All mutants of the deciding code that mutmut's operators generate, and two of our own.

mutmut would run them itself, by switches inside each function, with tests alone, and not in
decorated functions. Here each is a file of its own, so that any checker can look at it, and a
decorator is hidden from mutmut as a comment.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping

import libcst as cst
from libcst.metadata import MetadataWrapper
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.mutators import OPERATORS_TYPE, mutation_operators
from mutmut.mutation.pragma_handling import get_ignored_lines

from proofs.mutant_ledger import Edit, Mutant

__all__ = ["CHAINS", "FILES", "generated"]

FILES = {"_counts.py": "counts", "_state.py": "machine", "_machine.py": "machine"}
DECORATOR, HIDDEN = "    @property\n", "    # property\n"

HEAVY = ("test_stateful", "test_stress", "test_debug_mode", "test_typing", "test_docstrings")
UNIT_TESTS = " ".join(
    ["tests tests/concurrency", *(f"--ignore=tests/concurrency/{name}.py" for name in HEAVY)]
)
FIRST_TESTS = " ".join(
    ["tests", *(f"tests/concurrency/test_{name}.py" for name in ("machine_steps", "options"))]
)

# Who may kill a generated mutant of a layer, from cheap to dear; the first of them ends it.
CHAINS = {
    "counts": ("counts graph", "contracts Wide", "contracts Checked", "z3 agreement", UNIT_TESTS),
    "machine": (
        "graph Ending",
        "contracts Wide",
        "contracts Checked",
        "graph Restoring",
        FIRST_TESTS,
        UNIT_TESTS,
        "graph Deadline",
        "graph Checked",
        "graph Wide",
        "graph Deep",
        "tests tests/concurrency --ignore=tests/concurrency/test_stateful.py",
    ),
}


def dropped(node: cst.Expr) -> Iterator[cst.CSTNode]:
    """A call that nobody needs the result of, left out."""
    if isinstance(node.value, cst.Call):
        yield cst.Pass()


def negated(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    """The other branch. Comparisons and the like have mutants enough."""
    if isinstance(node.test, cst.Name | cst.Attribute | cst.Call):
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), node.test))


OPERATORS: OPERATORS_TYPE = [*mutation_operators, (cst.Expr, dropped), (cst.If, negated)]


def changed(before: str, after: str) -> str:
    """The lines from the first that differs to the last, as one line, without comments."""
    old, new = (re.sub(r"  #.*", "", text).splitlines() for text in (before, after))
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    parts = (" ".join(map(str.strip, lines[start:])) for lines in (old, new))
    return " -> ".join(part or "nothing" for part in parts)


def mutants_of(file: str, text: str, functions: Container[str] | None = None) -> Iterator[Mutant]:
    """The mutants of a file, or of some of its functions."""
    hidden = text.replace(DECORATOR, HIDDEN)
    wrapper = MetadataWrapper(cst.parse_module(hidden))
    visitor = MutationVisitor(OPERATORS, get_ignored_lines(file, hidden, wrapper, None), None)
    module = wrapper.visit(visitor)
    names: Counter[str] = Counter()
    for mutation in visitor.mutations:
        function = mutation.contained_by_top_level_function
        if not isinstance(function, cst.FunctionDef):
            continue
        if functions is not None and function.name.value not in functions:
            continue
        other = module.deep_replace(mutation.original_node, mutation.mutated_node)
        code = cst.ensure_type(other, cst.Module).code
        what = f"{function.name.value}: {changed(hidden, code)}"
        names[what] += 1
        name = f"{file.removesuffix('.py')}.{what}" + f" ({names[what]})" * (names[what] > 1)
        edit = Edit(file, text, code.replace(HIDDEN, DECORATOR))
        yield Mutant(name, FILES[file], what, (edit,))


def generated(originals: Mapping[str, str]) -> list[Mutant]:
    """Every generated mutant; its name tells the function and what is changed in it."""
    return [mutant for file in FILES for mutant in mutants_of(file, originals[file])]
