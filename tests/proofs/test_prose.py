"""The list of places to look at: each kind is found where it is, and clean text is not listed."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from proofs import prose
from proofs.prose import KINDS, Finding, look, main

pytestmark = pytest.mark.untraced

CLEAN_PROGRAM = '''
"""Pieces of a pool."""

LIMIT = 3  # how many resources may exist at once


class Records:
    """Records of all leases, oldest first."""

    size: int
    """Number of records."""

    @property
    def newest(self) -> str:
        """The record that was added last."""
        return "who knows"  # noqa: whoever

    def add(self, name: str) -> None:
        """S1: Add a record.

            whoever("is told", amid=anew)

        Args:
            name: Name of the task that holds the resource.

        Raises:
            ValueError: The name is empty.
        """
        # Drop the oldest record, because otherwise the list grows without a limit.
        self.text = "whoever is told on the floor, say, amid the departed"


def apply(count: int) -> int:
    # Nobody documents a short function.
    return count
'''

CLEAN_PAGE = """
# What the pool does

<!-- whoever -->
One sentence with `whoever` and [a link](https://example.org/lest/the-floor).
What happens then? The waiter gets an error.

| Term | Meaning |
|---|:-:|
| slot | Room for one resource. |

1. First

    - An item with a paragraph:

      not code, but clean.

```python
# Whoever reads this is told, amid code, to look away.
```

Text before code:

    whoever lest anew
"""


def program(text: str) -> list[tuple[int, str, str]]:
    return [finding[1:] for finding in look("program.py", dedent(text))]


def page(text: str) -> list[tuple[int, str, str]]:
    return [finding[1:] for finding in look("page.md", dedent(text))]


def test_a_clean_program_has_no_findings() -> None:
    assert program(CLEAN_PROGRAM) == []


def test_a_clean_page_has_no_findings() -> None:
    assert page(CLEAN_PAGE) == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("A call amid a step.", "amid"),
        ("It starts anew.", "anew"),
        ("A lease is dearer.", "dearer"),
        ("Lest it fails.", "lest"),
        ("Entries of the departed.", "the departed"),
        ("All but for one.", "but for"),
        ("It ends of its own\naccord.", "of its own accord"),
        ("A waiter is told.", "is told"),
        ("Released by whomever.", "whomever"),
        ("A destructor, say, runs.", "say"),
        ("A destructor, say.", "say"),
    ],
)
def test_banned_words_are_found(text: str, word: str) -> None:
    expected = [(1, "banned word", word)]
    assert page(text) == expected
    assert program("# " + text.replace("\n", "\n# ")) == expected


def test_the_verb_to_say_is_no_banned_word() -> None:
    assert page("Comments say why. Rules, say the authors, help.") == []


def test_retired_terms_are_found_with_their_line() -> None:
    assert page("Clean.\n\nThe pool keeps\na floor of idle resources.") == [
        (4, "retired term", "floor")
    ]


def test_sentences_of_more_than_25_words_are_found() -> None:
    words = "word " * 24
    assert page(f"A {words}.") == []
    [(line, kind, text)] = page(f"Short. A {words}more.")
    assert (line, kind) == (1, "long sentence")
    assert text.startswith("26 words: A word word")
    assert text.endswith("…")
    assert page(f"{words}.\n\n{words}.") == page(f"* {words}\n* {words}") == []
    assert page(f"| {words} | {words} |") == []
    assert [kind for _, kind, _ in program(f'"""{words}{words}"""')] == ["long sentence"]


def test_inline_code_counts_as_one_word() -> None:
    words = "word " * 24
    assert page(f"{words}`acquire(1, 2, 3)`.") == []


@pytest.mark.parametrize("word", ["Who", "Whoever", "Whatever", "What", "What's"])
def test_sentences_that_begin_with_a_wh_subject_are_found(word: str) -> None:
    assert ("wh-subject", f"{word} waits is served.") in [
        found[1:] for found in page(f"First.\n{word} waits is served.")
    ]
    assert page(f"{word} waits?")[:1] in ([], [(1, "banned word", "whoever")])


def test_a_wh_subject_is_found_in_docstrings_and_comments() -> None:
    found = program(
        '''
        def call() -> None:
            """Call it.

            What fails is closed.
            """
            pass  # who waits is served. Who leaves is not.
        '''
    )
    assert found == [
        (5, "wh-subject", "What fails is closed."),
        (7, "wh-subject", "Who leaves is not."),
    ]


def test_a_comment_of_several_lines_is_read_as_one() -> None:
    assert program("x = 1  # one\n# All.\n# What\n# fails is closed.\ny = 2  # What") == [
        (3, "wh-subject", "What fails is closed."),
        (5, "wh-subject", "What"),
    ]


@pytest.mark.parametrize(
    "docstring",
    ["The number of slots.", "Returns it.", "Called by the loop.", "Whether it is open.", "S1: A."],
)
def test_function_docstrings_without_an_imperative_are_found(docstring: str) -> None:
    text = f'async def call():\n    """{docstring}"""\n'
    shown = docstring.removeprefix("S1: ")
    assert program(text) == [(2, "function docstring", f"call: {shown}")]


@pytest.mark.parametrize("docstring", ["Return it.", "Tell whether it is open.", "L4: Count."])
def test_function_docstrings_with_an_imperative_are_not_listed(docstring: str) -> None:
    assert program(f'def call():\n    """{docstring}"""\n') == []


@pytest.mark.parametrize(
    "docstring", ["Draws rows.", "Keeps the queue.", "Creates tasks.", "Carries it.", "Send."]
)
def test_class_docstrings_that_start_with_a_verb_are_found(docstring: str) -> None:
    text = f'class Rows:\n    """{docstring}"""\n'
    assert program(text) == [(2, "class docstring", f"Rows: {docstring}")]


@pytest.mark.parametrize("docstring", ["A row.", "Record of a lease.", "Draws of a lottery."])
def test_class_docstrings_that_start_with_a_noun_are_not_listed(docstring: str) -> None:
    assert program(f'class Rows:\n    """{docstring}"""\n') == []


@pytest.mark.parametrize(
    "text",
    [
        "def _again(): ...",
        "async def weakly(): ...",
        "class Nowhere: ...",
        "def call(doubt): ...",
        "def call(*, doomed=0): ...",
        "coming = 1",
        "self._left = 1",
        "for once in range(3): ...",
        "class Counts:\n  coming: int",
    ],
)
def test_adverbs_and_retired_names_are_found(text: str) -> None:
    [(_, kind, name)] = program(text)
    assert kind == "name"
    assert name in text


def test_a_name_is_listed_once_and_at_its_first_definition() -> None:
    assert program("x = 1\nself.coming = 2\nself.coming = 3\n") == [(2, "name", "coming")]


def test_the_use_of_a_name_is_not_listed() -> None:
    assert program("x = coming + self._left + only\nleft = apply(x)\nfirst_only = 1") == []


def test_the_name_of_a_module_is_listed() -> None:
    assert look("src/_reading.py", "") == [Finding("src/_reading.py", 1, "name", "module _reading")]
    assert look("src/_records.py", "") == []


def test_the_command_prints_the_findings_and_a_count_for_each_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.md").write_text("Whoever waits.\n", encoding="utf-8")
    (tmp_path / "program.py").write_text("coming = 1\n", encoding="utf-8")
    (tmp_path / "data.json").write_text("whoever", encoding="utf-8")
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"{tmp_path / 'page.md'}:1: banned word: whoever",
        f"{tmp_path / 'page.md'}:1: wh-subject: Whoever waits.",
        f"{tmp_path / 'program.py'}:1: name: coming",
    ]
    counts = {kind: int(count) for count, kind in (line.split(None, 1) for line in lines[3:])}
    assert counts == dict.fromkeys(KINDS, 0) | {"banned word": 1, "wh-subject": 1, "name": 1}


def test_the_command_reads_the_sources_and_the_documentation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= len(KINDS)
    found = {path for path in prose.PATHS if (prose.ROOT / path).exists()}
    assert found == set(prose.PATHS)


@pytest.mark.parametrize("name", ["missing.py", "data.json", "broken.py"])
def test_a_path_that_cannot_be_read_is_bad_usage(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.json").write_text("{}", encoding="utf-8")
    (tmp_path / "broken.py").write_text("def (", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / name)])
    assert ended.value.code == 2
    assert name in capsys.readouterr().err
