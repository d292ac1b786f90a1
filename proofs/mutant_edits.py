"""Edits of Python code: each names a function and the code in it that it replaces.

Code is compared as a syntax tree. So comments, line breaks, quotes and redundant parentheses make
no difference, and the function may move within its file. The old code is an expression, or one or
more statements that follow each other. It must stand in the function exactly once. Only its text is
replaced: the rest of the file stays as it is.

Nested functions and classes are functions of their own, with names like ``outer.inner``; their code
does not belong to ``outer``. The name of a class means the statements of its body, and the empty
name means those of the module. Decorators and default values belong to what they decorate.
"""

from __future__ import annotations

import ast
import difflib
import heapq
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Edit", "EditError", "edited", "hints"]

Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
MOST = 4  # hints of one kind


class EditError(ValueError):
    """An error that says why an edit does not apply."""


class Edit(NamedTuple):
    """New code for old code in a function of a file."""

    file: str
    function: str
    old: str
    new: str

    @property
    def place(self) -> str:
        return f"{self.file}: {self.function or 'module level'}"


class Change(NamedTuple):
    """The parsed sides of an edit: two expressions, or two lists of statements."""

    old: Sequence[ast.AST]
    new: Sequence[ast.AST]

    @property
    def kind(self) -> type[ast.AST]:
        return ast.expr if isinstance(self.old[0], ast.expr) else ast.stmt


class Match(NamedTuple):
    """Nodes that stand in a field of their parent; they follow each other if it is a list."""

    parent: ast.AST
    field: str
    first: int | None  # the index of the first node, or None if the field is no list
    nodes: Sequence[ast.AST]

    @contextmanager
    def replaced(self, nodes: Sequence[ast.AST]) -> Iterator[None]:
        """Put other nodes in its place for a moment."""
        self.put(self.nodes, nodes)
        try:
            yield
        finally:
            self.put(nodes, self.nodes)

    def put(self, before: Sequence[ast.AST], after: Sequence[ast.AST]) -> None:
        if self.first is None:
            setattr(self.parent, self.field, after[0])
        else:
            there = getattr(self.parent, self.field)
            there[self.first : self.first + len(before)] = after


@lru_cache(maxsize=4096)  # the tests apply the whole ledger again and again
def edited(text: str, edit: Edit) -> str:
    """Apply an edit to the text of its file."""
    change = parsed(edit)
    tree, by_name = functions(text)
    there = by_name.get(edit.function)
    if there is None:
        raise EditError("no such function")
    matches = [match for scope in there for match in found(scope, change)]
    if len(matches) != 1:
        raise EditError(f"found {len(matches)} times")
    (match,) = matches
    span = Span(text, match.nodes)
    with match.replaced(change.new):
        for result in span.replaced(change.new):
            if is_valid(result, tree):
                return result
    raise EditError("the file with the new code is no valid Python")


@lru_cache(maxsize=64)
def functions(text: str) -> tuple[ast.Module, Mapping[str, Sequence[Scope]]]:
    """Parse a file. Return its tree, and its functions and classes by qualified name."""
    tree = ast.parse(text)
    by_name: dict[str, list[Scope]] = {}
    for name, scope in scopes(tree):
        by_name.setdefault(name, []).append(scope)
    return tree, by_name


def parsed(edit: Edit) -> Change:
    """Parse both sides. An expression statement is replaced by statements as a statement."""
    old, new = statements(edit.old), statements(edit.new) or [ast.Pass()]
    if not old:
        raise EditError("no old code")
    if dump(old) == dump(new):
        raise EditError("the new code equals the old code")
    if len(old) == len(new) == 1:
        before, after = old[0], new[0]
        if isinstance(before, ast.Expr) and isinstance(after, ast.Expr):
            return Change([before.value], [after.value])
    return Change(old, new)


def statements(code: str) -> list[ast.stmt]:
    try:
        return ast.parse(textwrap.dedent(code).strip()).body
    except SyntaxError as error:
        raise EditError(f"no valid Python: {code!r}") from error


def dump(nodes: Sequence[ast.AST]) -> list[str]:
    """Return the form in which code is compared."""
    return [ast.dump(node) for node in nodes]


def own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Walk through a function without entering the functions and classes that it defines."""
    yield scope
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, DEFINITIONS):
            yield from own_nodes(child)


def scopes(scope: Scope, name: str = "") -> Iterator[tuple[str, Scope]]:
    """List a module's functions and classes by qualified name, the module itself first."""
    yield name, scope
    for node in own_nodes(scope):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, DEFINITIONS):
                yield from scopes(child, f"{name}.{child.name}".removeprefix("."))


def candidates(scope: Scope, kind: type[ast.AST], count: int) -> Iterator[Match]:
    """List all expressions of a function, or all runs of so many statements."""
    for parent in own_nodes(scope):
        for field, value in ast.iter_fields(parent):
            if isinstance(value, kind) and count == 1:
                yield Match(parent, field, None, [value])
            elif isinstance(value, list):
                for first in range(len(value) - count + 1):
                    if isinstance(value[first], kind):
                        yield Match(parent, field, first, value[first : first + count])


def found(scope: Scope, change: Change) -> Iterator[Match]:
    """List the places of the old code in a function."""
    wanted = dump(change.old)
    for match in candidates(scope, change.kind, len(change.old)):
        if dump(match.nodes) == wanted:
            yield match


class Span:
    """The text of nodes that follow each other in a file."""

    def __init__(self, text: str, nodes: Sequence[ast.AST]) -> None:
        self.text = text.encode()  # since the offsets of nodes count bytes
        first, last = nodes[0], nodes[-1]
        assert isinstance(first, ast.stmt | ast.expr)
        assert isinstance(last, ast.stmt | ast.expr)
        line = first.lineno
        if isinstance(first, DEFINITIONS) and first.decorator_list:
            line = first.decorator_list[0].lineno
        self.column = first.col_offset
        self.start = self.offset(line, first.col_offset)
        self.end = self.offset(last.end_lineno or 0, last.end_col_offset or 0)
        self.is_elif = isinstance(first, ast.If) and self.text.startswith(b"elif", self.start)

    def offset(self, line: int, column: int) -> int:
        return sum(map(len, self.text.splitlines(keepends=True)[: line - 1])) + column

    def replaced(self, nodes: Sequence[ast.AST]) -> Iterator[str]:
        """Write the nodes in its place, in each form that may be needed there."""
        if isinstance(nodes[0], ast.expr):
            code = ast.unparse(nodes[0])
            forms = [code, f"({code})"]
        else:
            code = "\n".join(map(ast.unparse, nodes))
            forms = [self.indented(code, self.column).lstrip()]
            if self.is_elif:
                forms = ["else:\n" + self.indented(code, self.column + 4)]
        for form in forms:
            yield (self.text[: self.start] + form.encode() + self.text[self.end :]).decode()

    @staticmethod
    def indented(code: str, column: int) -> str:
        return textwrap.indent(code, " " * column)


def is_valid(text: str, expected: ast.Module) -> bool:
    """Check that a text compiles, and is the expected tree: so nothing else was changed."""
    try:
        tree = ast.parse(text)
        compile(tree, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return same(tree, expected)


def same(one: ast.AST, other: ast.AST) -> bool:
    """Compare two trees. Positions in the text do not count."""
    pairs: list[tuple[object, object]] = [(one, other)]
    while pairs:
        a, b = pairs.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, ast.AST):
            pairs += [(getattr(a, name, None), getattr(b, name, None)) for name in a._fields]
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            pairs += zip(a, b, strict=True)
        elif a != b:
            return False
    return True


def hints(texts: Mapping[str, str], edit: Edit) -> list[str]:
    """Say where the code of an edit that does not apply may be now."""
    try:
        change = parsed(edit)
    except EditError:
        return []
    places = {
        Edit(file, name, "", "").place: name for file in texts for name in functions(texts[file])[1]
    }
    lines = []
    if edit.place not in places:
        lines += [f"similar function: {place}" for place in namesakes(edit.function, places)]
    codes = [
        (Edit(file, name, "", "").place, code)
        for file, text in texts.items()
        for name, code in all_code(text, change.kind is ast.expr, len(change.old))
    ]
    wanted = "\n".join(map(ast.unparse, change.old))
    lines += [f"the same code: {place}" for place, code in codes if code == wanted][:MOST]
    there = [(place, code) for place, code in codes if place == edit.place]
    place, code = closest(wanted, there or codes)
    if code != wanted:
        lines.append(f"most similar{f': {place}' * (place != edit.place)}: {code}")
    return lines


@lru_cache(maxsize=1024)
def all_code(text: str, expressions: bool, count: int) -> Sequence[tuple[str, str]]:
    """List the expressions of a file, or its runs of so many statements, each with its function."""
    return [
        (name, "\n".join(map(ast.unparse, match.nodes)))
        for name, there in functions(text)[1].items()
        for scope in there
        for match in candidates(scope, ast.expr if expressions else ast.stmt, count)
    ]


def namesakes(function: str, places: Mapping[str, str]) -> list[str]:
    """Find the functions with the same last name, or else with a similar one."""
    last = {place: name.rpartition(".")[2] for place, name in places.items()}
    wanted = function.rpartition(".")[2]
    known = sorted({*last.values()})
    near = [wanted] if wanted in known else difflib.get_close_matches(wanted, known, n=2)
    return [place for name in near for place in last if last[place] == name][:MOST]


def closest(wanted: str, codes: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Find the code that resembles the wanted code most. Words are compared first, to save time."""
    words = set(re.findall(r"\w+", wanted))

    def overlap(place_and_code: tuple[str, str]) -> float:
        others = set(re.findall(r"\w+", place_and_code[1]))
        return len(words & others) / (len(words | others) or 1)

    def resemblance(place_and_code: tuple[str, str]) -> float:
        return difflib.SequenceMatcher(None, wanted, place_and_code[1], autojunk=False).ratio()

    return max(heapq.nlargest(9, codes, overlap), key=resemblance, default=("nowhere", "nothing"))
