"""List the places in comments, docstrings and pages that a writer should look at again.

Each rule is a cheap heuristic, so a finding is a question and not a verdict. For this reason the
command ends with exit code 0 however much it finds.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

__all__ = ["KINDS", "Finding", "look", "main"]

ROOT = Path(__file__).parents[1]
PATHS = (
    "src", "docs", "README.md", "DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md", "ASSURANCE.md"
)  # fmt: skip
SUFFIXES = (".py", ".md")

BANNED = "banned word"
RETIRED = "retired term"
LONG = "long sentence"
SUBJECT = "wh-subject"
FUNCTION = "function docstring"
CLASS = "class docstring"
NAME = "name"
KINDS = (BANNED, RETIRED, LONG, SUBJECT, FUNCTION, CLASS, NAME)

MOST_WORDS = 25
SHOWN = 80  # characters of a sentence

WORDS = tomllib.loads((ROOT / "proofs" / "prose.toml").read_text(encoding="utf-8"))


def _any_of(*expressions: str) -> re.Pattern[str]:
    one = "|".join(expressions).replace(" ", r"\s+")  # a line may end between two words
    return re.compile(rf"\b(?:{one})\b", re.IGNORECASE)


BANNED_WORDS = _any_of(*WORDS["banned"])
SAY = re.compile(r", (?:say,|say(?=[.;:)]))")  # only between commas: the verb is fine
RETIRED_TERMS = _any_of(*WORDS["retired_terms"])
RETIRED_NAMES, ADVERBS, NO_ADVERBS, VERBS, NOUNS = (
    frozenset(WORDS[name].split())
    for name in ("retired_names", "adverbs", "no_adverbs", "verbs", "verbs_that_are_nouns")
)
AFTER_NOUN = frozenset(WORDS["after_noun"].split())
SUBJECTS = re.compile(r"(?:Who|Whoever|Whom|Whose|Whatever|What)(?:'s)?\b")

FENCE = re.compile(r" *(`{3,}|~{3,})")
ITEM = re.compile(r" *(?:[*+-]|\d+[.)]|:) +")
ADMONITION = re.compile(r"(?:!!!|\?\?\?\+?|===) ")
RULE = re.compile(r"[|:\s-]*")
SECTION = re.compile(r"[A-Z]\w*:")
ARGUMENT = re.compile(r" +`{0,2}\*{0,2}[\w.]+`{0,2}: ")
CODE = re.compile(r"(`+)[^`]+\1")
LINK = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
TAG = re.compile(r"</?[a-zA-Z][^>]*>")
DIRECTIVE = re.compile(r"#\s*(?:type:|noqa|fmt:|mypy:|pragma|ruff:|!|-+$|-\*-)")
LABEL = re.compile(r"(?:[SL]\d+[.,:]? )*(?:[A-Z]\w*: )?")
END = re.compile(r"[.!?]['\")\]*_`]*\s+(?=['\"(\[*_`]*[A-Z0-9`])")


class Finding(NamedTuple):
    """A place to look at."""

    file: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind}: {self.text}"


class Line(NamedTuple):
    """One line of prose, with its number in the file."""

    number: int
    text: str


Paragraph = list[Line]


def look(file: str, text: str) -> list[Finding]:
    """Return the findings of one file, in the order of its lines."""
    find = _in_python if file.endswith(".py") else _in_markdown
    return sorted(
        (Finding(file, line, kind, what) for line, kind, what in find(file, text)),
        key=lambda finding: finding.line,
    )


Found = Iterator[tuple[int, str, str]]  # line, kind, text


def _in_markdown(_: str, text: str) -> Found:
    for paragraph in _markdown(text):
        yield from _in_paragraph(paragraph)


def _in_python(file: str, text: str) -> Found:
    tree = ast.parse(text)  # first, because the tokenizer has other errors for broken programs
    for paragraph in _comments(text):
        yield from _in_paragraph(paragraph)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():  # of a lambda it is no list
            if (docstring := _text_of(statement)) is not None:
                for paragraph in _docstring(statement.lineno, docstring):
                    yield from _in_paragraph(paragraph)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _first_word(node)
    yield from _names(file, tree)


def _in_paragraph(paragraph: Paragraph) -> Found:
    """Apply the rules for sentences."""
    whole = "\n".join(line.text for line in paragraph)
    numbers = [line.number for line in paragraph]

    def line_of(offset: int) -> int:
        return numbers[whole.count("\n", 0, offset)]

    for expression, kind in ((BANNED_WORDS, BANNED), (SAY, BANNED), (RETIRED_TERMS, RETIRED)):
        for found in expression.finditer(_without_code(whole)):
            yield line_of(found.start()), kind, " ".join(found[0].strip(" ,").lower().split())
    start = 0
    for end in [*(found.end() for found in END.finditer(whole)), len(whole)]:
        sentence = whole[start:end].strip()
        line = line_of(start + len(whole[start:end]) - len(whole[start:end].lstrip()))
        start = end
        plain = " ".join(_without_code(sentence).split())
        words = sum(any(map(str.isalnum, word)) for word in plain.split())
        shown = " ".join(sentence.split())
        shown = shown if len(shown) <= SHOWN else f"{shown[: SHOWN - 1]}…"
        if words > MOST_WORDS:
            yield line, LONG, f"{words} words: {shown}"
        if SUBJECTS.match(plain.lstrip("\"'(*_")) and not plain.rstrip("\"')*_").endswith("?"):
            yield line, SUBJECT, shown


def _without_code(text: str) -> str:
    """Replace inline code by one word, and keep the length so that offsets stay right."""
    return CODE.sub(lambda found: "x" * len(found[0]), text)


def _first_word(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Found:
    """Judge how a docstring starts: a function's with a verb, a class's with a noun."""
    docstring = ast.get_docstring(node)
    if not docstring:
        return
    text = LABEL.sub("", docstring, count=1).lstrip()
    word = (text.split() or [""])[0].strip(".,:;")
    following = text[len(word) :].split()[0] if " " in text else ""
    shown = text.split("\n", 1)[0]
    line = node.body[0].lineno
    if isinstance(node, ast.ClassDef):
        stem = _base_form(word.lower())
        # "Draws rows" starts with a verb, "Draws of a lottery" and "Draw" with a noun.
        noun = stem in NOUNS and (word.lower() == stem or following in AFTER_NOUN)
        if stem in VERBS and not noun:
            yield line, CLASS, f"{node.name}: {shown}"
    elif word.lower() not in VERBS and not _is_property(node):
        yield line, FUNCTION, f"{node.name}: {shown}"


def _base_form(word: str) -> str:
    """Strip the ending of the third person."""
    forms = (word, word.removesuffix("s"), word.removesuffix("es"), f"{word.removesuffix('ies')}y")
    return next((form for form in forms if form in VERBS), word)


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a function is read like an attribute, so that its docstring is a noun."""
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def _names(file: str, tree: ast.Module) -> Found:
    """Find names that are bare adverbs or retired, each at its first definition."""
    seen: dict[str, int] = {}
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        if name is not None and isinstance(node, ast.stmt | ast.expr | ast.arg):
            seen[name] = min(node.lineno, seen.get(name, node.lineno))
    for name, line in seen.items():
        if name in RETIRED_NAMES or _is_adverb(name):
            yield line, NAME, name
    stem = Path(file).stem
    if stem.strip("_").capitalize() in RETIRED_NAMES or _is_adverb(stem):
        yield 1, NAME, f"module {stem}"


def _is_adverb(name: str) -> bool:
    bare = name.strip("_").lower()
    return bare in ADVERBS or (bare.endswith("ly") and bare not in NO_ADVERBS and "_" not in bare)


def _comments(text: str) -> Iterator[Paragraph]:
    """Yield the comments of a program; comments on lines of their own that touch are one."""
    paragraph: Paragraph = []
    column = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or DIRECTIVE.match(token.string):
            continue
        number, start = token.start
        alone = not token.line[:start].strip()
        goes_on = alone and start == column and paragraph[-1].number == number - 1
        if paragraph and not goes_on:
            yield from _paragraphs(paragraph)
            paragraph = []
        column = start if alone else -1
        paragraph.append(Line(number, token.string.lstrip("#").strip()))
    yield from _paragraphs(paragraph)


def _text_of(statement: ast.stmt) -> str | None:
    """Return the text of a statement that is only a string."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        value = statement.value.value
        return value if isinstance(value, str) else None
    return None


def _docstring(first: int, text: str) -> Iterator[Paragraph]:
    """Yield the prose of a docstring: no code, and no names of arguments."""
    rows = text.split("\n")
    margin = min((len(row) - len(row.lstrip()) for row in rows[1:] if row.strip()), default=0)
    prose: Paragraph = []
    in_section = in_code = after_blank = False
    for number, row in enumerate([rows[0], *(row[margin:] for row in rows[1:])], first):
        if not row.strip():
            after_blank = True
            prose.append(Line(number, ""))
            continue
        indented = row.startswith("    ")
        if not indented:
            in_section = in_code = False
            in_section = SECTION.fullmatch(row.rstrip()) is not None
            if not in_section:
                prose.append(Line(number, row))
        elif in_section:
            if ARGUMENT.match(row):
                prose.append(Line(number, ""))
            prose.append(Line(number, ARGUMENT.sub("", row, count=1)))
        else:
            in_code = in_code or after_blank
            if not in_code:
                prose.append(Line(number, row))
        after_blank = False
    return _paragraphs(prose)


def _markdown(text: str) -> Iterator[Paragraph]:
    """Yield the prose of a page: no code blocks, no rules of tables, no comments, no addresses."""
    blank = COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)
    prose: Paragraph = []
    fence = ""
    holds_blocks = in_code = after_blank = False
    for number, row in enumerate(blank.split("\n"), 1):
        if found := FENCE.match(row):
            if not fence:
                fence = found[1]
                prose.append(Line(number, ""))
            elif found[1].startswith(fence) and not row[found.end() :].strip():
                fence = ""
            continue
        if fence:
            continue
        if not row.strip():
            after_blank = True
            prose.append(Line(number, ""))
            continue
        if not row.startswith("    "):
            in_code = False
            if after_blank or ITEM.match(row) or ADMONITION.match(row):
                holds_blocks = bool(ITEM.match(row) or ADMONITION.match(row))
        elif after_blank and not holds_blocks:
            in_code = True
        after_blank = False
        if not in_code:
            prose += _row(number, row)
    return _paragraphs(prose)


def _row(number: int, row: str) -> Iterator[Line]:
    """Yield a line of a page; each cell of a table, and each heading, is a paragraph of its own."""
    if row.lstrip().startswith("|"):
        if not RULE.fullmatch(row):
            masked = _without_code(row)
            cuts = [i for i, letter in enumerate(masked) if letter == "|"]
            for start, end in pairwise(cuts):
                yield Line(number, "")
                yield Line(number, _plain(row[start + 1 : end]))
        yield Line(number, "")
    elif row.startswith("#"):
        # A heading is a title and no sentence: "What you get" has no subject.
        yield Line(number, "")
    elif ADMONITION.match(row):
        yield Line(number, "")
    else:
        yield Line(number, _plain(row))


def _plain(text: str) -> str:
    return TAG.sub("", LINK.sub(r"\1", text))


def _paragraphs(lines: Iterable[Line]) -> Iterator[Paragraph]:
    """Split lines at blank lines and at the items of lists."""
    paragraph: Paragraph = []
    for line in lines:
        item = ITEM.match(line.text)
        if paragraph and (item or not line.text.strip()):
            yield paragraph
            paragraph = []
        if line.text.strip():
            paragraph.append(Line(line.number, line.text[item.end() :] if item else line.text))
    if paragraph:
        yield paragraph


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = (file for file in path.rglob("*") if file.suffix in SUFFIXES)
            yield from sorted(file for file in found if file.is_file())
        else:
            yield path


def _shown(file: Path) -> str:
    """Name a file relative to the project, if it is in it."""
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every finding and their number by kind; always return 0."""
    parser = argparse.ArgumentParser(prog="python -m proofs.prose", description=__doc__)
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        default=[ROOT / path for path in PATHS],
        metavar="PATH",
        help="Python or Markdown files, and folders of them (default: sources and documentation)",
    )
    paths = [path.absolute() for path in parser.parse_args(arguments).paths]
    for path in paths:
        if not path.exists() or (path.is_file() and path.suffix not in SUFFIXES):
            parser.error(f"{path} is no folder, and no Python or Markdown file")
    counts = Counter[str]()
    for file in _files(paths):
        try:
            findings = look(_shown(file), file.read_text(encoding="utf-8"))
        except SyntaxError as error:
            parser.error(f"{file} is no Python: {error}")
        for finding in findings:
            print(finding)
            counts[finding.kind] += 1
    print(*(f"{counts[kind]:6,} {kind}" for kind in KINDS), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
