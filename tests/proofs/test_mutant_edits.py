"""Tests of edits: what matches, what text they leave alone, and what is an error."""

from __future__ import annotations

import ast
from textwrap import dedent

import pytest

from proofs.mutant_edits import Edit, EditError, edited, hints

pytestmark = pytest.mark.untraced

TEXT = '''\
"""A module."""

import logging

LIMIT = 3  # ünïcode before ünïcode


class Pool(Base):
    """A class."""

    size = 0

    @property
    @cached("size")
    def idle(self) -> int:
        return len(
            self.shelf  # a comment
        ) - self.off

    @idle.setter
    def idle(self, value: int = 7) -> None:
        self.off = value

    async def close(self, wait=True):
        """Close it."""
        async with self.lock:
            await self.drain("all", timeout=1)
        if self.left == 0: self.left = 1  # on one line
        elif self.left:
            self.count += 1
            self.log("left")
        else:
            self.count += 1
        try:
            é = self.é; self.end()
        except Exception as error:
            raise
        return all(x for x in self.left)

    def step(self):
        def inner(y):
            self.settle()
            return y
        self.settle()
        # between the two
        self.pending -= 1
        return inner(self.a or
                     self.b)
'''


def apply(function: str, old: str, new: str) -> str:
    """Apply an edit, and check that the result is the tree it must be and keeps its other lines."""
    result = edited(TEXT, Edit("pool.py", function, dedent(old), dedent(new)))
    ast.parse(result)
    return result


def swap(before: str, after: str) -> str:
    assert TEXT.count(before) == 1
    return TEXT.replace(before, after)


CASES = {
    "statement": ("Pool.close", "self.log('left')", "self.log('gone')", '"left"', "'gone'"),
    "expression": ("Pool.step", "inner(self.a or self.b)", "None", *(
        "inner(self.a or\n                     self.b)", "None"
    )),
    "expression inside an expression": ("Pool.idle", "self.shelf", "()", "self.shelf", "()"),
    "precedence": ("Pool.idle", "self.off", "a + b", "- self.off", "- (a + b)"),
    "redundant parentheses": ("Pool.step", "((self.a) or (self.b))", "self.c", *(
        "self.a or\n                     self.b", "self.c"
    )),
    "generator": ("Pool.close", "(x for x in self.left)", "[]", "(x for x in self.left)", "([])"),
    "decorated method": ("Pool.idle", "self.off = value", "pass", "self.off = value", "pass"),
    "decorator": ("Pool.idle", "cached('size')", "plain", '@cached("size")', "@plain"),
    "default value": ("Pool.idle", "7", "8", "int = 7", "int = 8"),
    "async function": ("Pool.close", "await self.drain('all', timeout=1)", "pass", *(
        'await self.drain("all", timeout=1)', "pass"
    )),
    "exception": ("Pool.close", "Exception", "BaseException", "except Ex", "except BaseEx"),
    "nested function": ("Pool.step.inner", "self.settle()", "", *(
        "            self.settle()\n            return y", "            pass\n            return y"
    )),
    "beside a nested function": ("Pool.step", "self.settle()", "", *(
        "        self.settle()\n        # between", "        pass\n        # between"
    )),
    "a function as a statement": ("Pool.step", "def inner(y):\n self.settle(); return y", "", *(
        "def inner(y):\n            self.settle()\n            return y", "pass"
    )),
    "statements with a comment between": (
        "Pool.step", "self.settle()\nself.pending -= 1", "self.a = 1\nif self.a:\n    self.b()",
        "self.settle()\n        # between the two\n        self.pending -= 1",
        "self.a = 1\n        if self.a:\n            self.b()",
    ),
    "statements on one line": ("Pool.close", "self.end()", "self.start()", ".end()", ".start()"),
    "bytes are no characters": ("Pool.close", "é = self.é", "e = 1", "é = self.é;", "e = 1;"),
    "behind a colon": ("Pool.close", "self.left = 1", "self.left = 2", "left = 1 ", "left = 2 "),
    "elif": (
        "Pool.close", """
        if self.left:
            self.count += 1
            self.log("left")
        else:
            self.count += 1
        """, "self.count = 5\nself.log()", """\
        elif self.left:
            self.count += 1
            self.log("left")
        else:
            self.count += 1
""", """\
        else:
            self.count = 5
            self.log()
"""),
    "module": ("", "import logging", "import asyncio\nimport logging", *(
        "import logging", "import asyncio\nimport logging"
    )),
    "module level value": ("", "3", "4", "LIMIT = 3", "LIMIT = 4"),
    "class": ("Pool", "size = 0", "", "size = 0", "pass"),
    "base class": ("Pool", "Base", "object", "(Base)", "(object)"),
    "docstring": ("Pool.close", "'''Close it.'''", "'''No.'''", '"""Close it."""', "'No.'"),
    "decorated function as a whole": ("Pool", """
        @idle.setter
        def idle(self, value: int = 7) -> None:
            self.off = value
        """, "", """\
    @idle.setter
    def idle(self, value: int = 7) -> None:
        self.off = value
""", """\
    pass
"""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_edit_replaces_the_text_of_its_code_and_no_other_text(case: str) -> None:
    function, old, new, before, after = CASES[case]
    assert apply(function, old, new) == swap(before, after)


ERRORS = {
    "no such function": ("Pool.open", "self.settle()", ""),
    "found 0 times": ("Pool.step", "self.settle(1)", ""),
    "found 2 times": ("Pool.close", "self.count += 1", ""),
    "no old code": ("Pool.step", " # nothing", "pass"),
    "the new code equals": ("Pool.step", "self.a or self.b", "(self.a) or(self.b)"),
    "no valid Python: 'case": ("Pool.step", "case 1: pass", ""),
    "no valid Python: 'else": ("Pool.step", "self.settle()", "else: pass"),
    "the file with the new code": ("Pool.step", "self.settle()", "await self.settle()"),
}


@pytest.mark.parametrize("reason", ERRORS)
def test_an_edit_that_does_not_apply_exactly_once_says_why(reason: str) -> None:
    with pytest.raises(EditError, match=reason):
        apply(*ERRORS[reason])


def test_code_of_a_nested_function_or_a_class_does_not_belong_to_what_is_around_it() -> None:
    for function, old in (("Pool.step", "return y"), ("Pool", "self.off"), ("", "size = 0")):
        with pytest.raises(EditError, match="found 0 times"):
            apply(function, old, "pass")


def test_two_statements_in_a_row_match_only_in_the_same_block() -> None:
    with pytest.raises(EditError, match="found 0 times"):
        apply("Pool.close", "self.left = 1\nself.count += 1", "")


def test_several_statements_do_not_fit_behind_a_colon() -> None:
    with pytest.raises(EditError, match="the file with the new code"):
        apply("Pool.close", "self.left = 1", "self.left = 2\nself.left = 3")


def test_an_edit_that_matches_keeps_matching_when_the_function_is_written_differently() -> None:
    rewritten = """
    class Pool:
        def other(self): self.settle()

        def step(
            self,
        ):
            if (self.left
                and self.name == 'a "text"'):  # moved and wrapped
                return
    """
    old = 'self.left and self.name == "a \\"text\\""'
    result = edited(dedent(rewritten), Edit("", "Pool.step", old, "not (self.left)"))
    assert "if (not self.left):  # moved and wrapped" in result


def test_hints_name_the_most_similar_code_and_where_the_same_code_stands() -> None:
    texts = {"pool.py": TEXT, "other.py": "def leave(): self.pending -= 2\n"}

    def hint(function: str, old: str) -> list[str]:
        return hints(texts, Edit("pool.py", function, old, ""))

    assert hint("Pool.step", "self.pending -= 3") == ["most similar: self.pending -= 1"]
    same, similar = hint("Pool.step", "self.pending -= 2")
    assert same == "the same code: other.py: leave"
    assert similar == "most similar: self.pending -= 1"
    function, similar = hint("Pool.leave", "self.ping -= 1")
    assert function == "similar function: other.py: leave"
    assert similar == "most similar: pool.py: Pool.step: self.pending -= 1"
    assert hint("Pool.stop", "x()")[0] == "similar function: pool.py: Pool.step"
    assert hint("Pool", "self.off()\n" * 30) == ["most similar: nowhere: nothing"]
    assert hint("Pool.step", "case 1: pass") == []
