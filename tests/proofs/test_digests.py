"""The digests of what the checkers read: they cover what can change a verdict, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs import digests
from proofs.checkers import CHECKERS
from proofs.digests import FILES, MODULES, content, digest, sources

pytestmark = pytest.mark.untraced

CODE = """
def limit(size: int) -> int:
    return max(size, 1)
"""
SAME = """
# A comment.
def limit(size: int) -> int:
    \"\"\"Return the limit.\"\"\"
    return max(
        size,
        1,
    )
"""


def test_each_checker_has_sources() -> None:
    assert set(MODULES) == set(CHECKERS)
    assert set(FILES) <= set(MODULES)
    for place, modules in MODULES.items():
        files = sources(place)
        assert all(map(digests.path_of, modules)), place
        assert len(files) == len({*files}) > len(modules)
        for pattern in FILES.get(place, ()):
            assert [*digests.ROOT.glob(pattern)], pattern


@pytest.mark.parametrize(
    ("place", "file"),
    [
        ("TLC", "spec/PoolQueue.tla"),
        ("TLC", "spec/models/Wide.cfg"),
        ("graph equality", "src/nodetool/concurrency/_machine/machine.py"),
        ("graph equality", "src/nodetool/concurrency/verify/graphs/Wide.graph.gz"),
        ("CrossHair", "src/nodetool/concurrency/_machine/counts.py"),
        ("Z3", "src/nodetool/concurrency/_machine/counts.py"),
        ("CrossHair search", "src/nodetool/concurrency/_machine/machine.py"),
        ("contracts", "src/nodetool/concurrency/_machine/contracts.py"),
        ("Hypothesis", "src/nodetool/concurrency/_runtime/driver.py"),
        ("schedules", "src/nodetool/concurrency/async_resource_pool.py"),
        ("schedules", "src/nodetool/concurrency/testing/_search.py"),
        ("tests", "tests/concurrency/test_bug_zoo.py"),
        ("mutants", "proofs/mutants.toml"),
    ],
)
def test_the_sources_of_a_checker_include_what_it_checks(place: str, file: str) -> None:
    assert digests.ROOT / file in sources(place)


def test_a_checker_of_numbers_does_not_depend_on_the_runtime() -> None:
    assert not [file for file in sources("CrossHair") if file.name == "driver.py"]
    assert [file for file in sources("schedules") if file.name == "driver.py"]


def written(folder: Path, name: str, text: str) -> bytes:
    file = folder / name
    file.write_text(text)
    content.cache_clear()
    return content(file)


def test_comments_docstrings_and_layout_of_python_change_no_digest(tmp_path: Path) -> None:
    code = written(tmp_path, "a.py", CODE)
    assert written(tmp_path, "a.py", SAME) == code


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1", "2"),
        ("max", "min"),
        ("size, 1", "1, size"),
        ("-> int", "-> float"),
        ("def limit(", "def limit(*, "),
    ],
)
def test_a_change_of_python_changes_the_digest(tmp_path: Path, old: str, new: str) -> None:
    code = written(tmp_path, "a.py", CODE)
    assert written(tmp_path, "a.py", CODE.replace(old, new)) != code


def test_a_comment_of_the_specification_changes_no_digest_and_a_formula_does(
    tmp_path: Path,
) -> None:
    formula = written(tmp_path, "a.tla", "(* A\n comment. *)\nInit == x = 0 \\* one\n")
    assert written(tmp_path, "a.tla", "Init ==\n  x = 0\n") == formula
    assert written(tmp_path, "a.tla", "Init ==\n  x = 1\n") != formula


def test_a_digest_covers_names_and_contents_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    monkeypatch.setattr(digests, "ROOT", tmp_path)
    for name, text in [("a.cfg", "one"), ("a.cfg", "two"), ("b.cfg", "two")]:
        (tmp_path / name).write_text(text)
        content.cache_clear()
        digest.cache_clear()
        files = [tmp_path / name]
        monkeypatch.setattr(digests, "sources", lambda _, files=files: files)
        found.add(digest("TLC"))
    assert len(found) == 3
