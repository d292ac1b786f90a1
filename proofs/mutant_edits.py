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
import textwrap
from collections.abc import Iterator, Mapping, Sequence
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

    def replace(self, nodes: Sequence[ast.AST]) -> None:
        if self.first is None:
            setattr(self.parent, self.field, nodes[0])
        else:
            there = getattr(self.parent, self.field)
            there[self.first : self.first + len(self.nodes)] = nodes


@lru_cache(maxsize=4096)  # the tests apply the whole ledger again and again
def edited(text: str, edit: Edit) -> str:
    """Apply an edit to the text of its file."""
    change = parsed(edit)
    tree = ast.parse(text)
    there = [scope for name, scope in scopes(tree) if name == edit.function]
    if not there:
        raise EditError("no such function")
    matches = [match for scope in there for match in found(scope, change)]
    if len(matches) != 1:
        raise EditError(f"found {len(matches)} times")
    (match,) = matches
    span = Span(text, match.nodes)
    match.replace(change.new)
    for result in span.replaced(change.new):
        if is_valid(result, tree):
            return result
    raise EditError("the file with the new code is no valid Python")


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


def candidates(scope: Scope, change: Change) -> Iterator[Match]:
    """List all code in a function that has the shape of the old code."""
    count = len(change.old)
    for parent in own_nodes(scope):
        for field, value in ast.iter_fields(parent):
            if isinstance(value, change.kind) and count == 1:
                yield Match(parent, field, None, [value])
            elif isinstance(value, list):
                for first in range(len(value) - count + 1):
                    if isinstance(value[first], change.kind):
                        yield Match(parent, field, first, value[first : first + count])


def found(scope: Scope, change: Change) -> list[Match]:
    wanted = dump(change.old)
    return [match for match in candidates(scope, change) if dump(match.nodes) == wanted]


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
    return ast.dump(tree) == ast.dump(expected)


def hints(texts: Mapping[str, str], edit: Edit) -> list[str]:
    """Say where the code of an edit that does not apply may be now."""
    try:
        change = parsed(edit)
    except EditError:
        return []
    everywhere = [
        (Edit(file, name, "", ""), scope)
        for file, text in texts.items()
        for name, scope in scopes(ast.parse(text))
    ]
    there = [(at, scope) for at, scope in everywhere if at.place == edit.place]
    lines = [f"most similar: {closest(scope, change)}" for _, scope in there]
    if not there:
        lines += (f"a similar function: {at}" for at in namesakes(edit, [e for e, _ in everywhere]))
    same = [at.place for at, scope in everywhere if at.place != edit.place and found(scope, change)]
    return lines + [f"the same code stands in {place}" for place in same[:MOST]]


def namesakes(edit: Edit, functions: Sequence[Edit]) -> list[str]:
    """Return the functions of the same name in any file, else those with the most similar place."""
    last = edit.function.rpartition(".")[2]
    same = [at.place for at in functions if at.function.rpartition(".")[2] == last]
    return same[:MOST] or difflib.get_close_matches(edit.place, [at.place for at in functions])


def closest(scope: Scope, change: Change) -> str:
    """Return the code in a function that resembles the old code most."""
    wanted = "\n".join(map(ast.unparse, change.old))
    texts = ("\n".join(map(ast.unparse, match.nodes)) for match in candidates(scope, change))
    return max(texts, key=lambda text: resemblance(wanted, text), default="nothing")


def resemblance(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()
