"""The documentation builds strictly, and its programs print what the pages say.

Its pictures have exactly the arrows of the specification's graphs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from doctest import ELLIPSIS, OutputChecker
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from shutil import which
from textwrap import dedent
from typing import Any, NamedTuple

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from docs import hooks, outage, states
from nodetool.concurrency.verify._graph import Graph
from proofs.guarantees import GUARANTEES, RULES
from spec import manifest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(
    r"(?:^<!-- needs: (?P<needs>\w+) -->\n)?"
    r"^(?P<margin> *)```python\n(?P<program>.*?)^(?P=margin)```\n"
    r"(?:\n^(?P=margin)```text\n(?P<output>.*?)^(?P=margin)```$)?",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A program on a page, and its output if the page has it."""

    name: str
    program: str
    output: str | None
    needs: str | None


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for number, found in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8")), 1):
            output = found["output"]
            yield Block(
                f"{page.relative_to(DOCS)}-{number}",
                dedent(found["program"]),
                None if output is None else dedent(output),
                found["needs"],
            )


BLOCKS = list(blocks())


def test_every_python_block_is_found() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert len(BLOCKS) == len(re.findall(r"^ *```python$", text, re.MULTILINE)) > 15
    assert sum(block.output is not None for block in BLOCKS) > 12


@pytest.mark.parametrize("block", BLOCKS, ids=[block.name for block in BLOCKS])
def test_every_python_block_runs_and_prints_what_the_page_says(
    block: Block, tmp_path: Path
) -> None:
    if block.needs is not None and find_spec(block.needs) is None:
        pytest.skip(f"needs {block.needs}")
    file = tmp_path / "program.py"
    file.write_text(block.program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", file.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    if block.output is not None:
        assert OutputChecker().check_output(block.output, done.stdout, ELLIPSIS), done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` builds it."""
    built = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", built],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"^(?!INFO)", (done.stdout + done.stderr).rstrip(), re.MULTILINE)
    return built


def test_make_docs_is_as_strict() -> None:
    """Forbid --quiet: with it, mkdocs counts no warnings, and --strict finds nothing wrong."""
    (command,) = re.findall(r"^\t.*mkdocs build.*$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "--strict" in command
    assert "--quiet" not in command


SUBMODULES = ("testing", "testing.plugins", "verify.schedules", "otel", "timeline", "trace")


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    written = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    anchors = set(re.findall(r'id="([\w.]+)"', written))
    package = "nodetool.concurrency"
    for module in (package, *(f"{package}.{name}" for name in SUBMODULES)):
        names = {f"{module}.{name}" for name in import_module(module).__all__}
        assert names <= anchors, names - anchors
    pool = import_module(package).AsyncResourcePool
    members = {f"{package}.AsyncResourcePool.{name}" for name in dir(pool) if name[0] != "_"}
    assert members <= anchors, members - anchors


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Start Chromium without a window. Debian's packages are chromium and chromium-driver."""
    found, driver = which("chromium"), which("chromedriver")
    if found is None or driver is None:
        pytest.skip("needs the programs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = found
    for option in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        f"user-data-dir={tmp_path}",
    ):
        options.add_argument(f"--{option}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as started:
        started.implicitly_wait(20)
        yield started


def test_a_reader_can_search_and_follow_links_without_a_server(site: Path, browser: Any) -> None:
    for link in ("Tutorial", "Semantics", "Glossary"):
        browser.get((site / "index.html").as_uri())
        browser.find_element(By.CSS_SELECTOR, "article").find_element(By.LINK_TEXT, link).click()
        assert link in browser.find_element(By.TAG_NAME, "h1").text
    browser.find_element(By.TAG_NAME, "body").send_keys("/")  # the key of the search
    browser.switch_to.active_element.send_keys("retire_all")
    found = browser.find_element(By.CSS_SELECTOR, ".md-search-result__link")
    page = found.get_attribute("href")
    assert page.startswith(site.as_uri())
    browser.get(page)
    assert "retire_all" in browser.find_element(By.CSS_SELECTOR, "article").text
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)  # the site also has a page for wrong addresses
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|link|source)\b[^>]*>", text)
        assert not [tag for tag in loaded if "//" in tag], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_nothing_is_left_to_insert(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<!-- insert" not in text, page
        assert "--8&lt;--" not in text, page


def test_every_example_is_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = set(re.findall(r'^--8<-- "examples/(\w+\.py)"$', text, re.MULTILINE))
    existing = {file.name for file in (ROOT / "examples").glob("*.py")} - {"__init__.py"}
    assert shown == existing


def test_the_guarantees_on_the_page_are_those_of_the_code() -> None:
    text = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    written = re.findall(r"^\| ([SLR]\d+) \| (\w+) \| \S", text, re.MULTILINE)
    known = {(one.code, one.name) for one in (*GUARANTEES, *RULES)}
    assert known <= set(written)
    # A guarantee of liveness may have several properties.
    specification = (ROOT / "spec" / "AsyncResourcePool.tla").read_text(encoding="utf-8")
    for code, name in set(written) - known:
        assert code in {known_code for known_code, _ in known}
        assert re.search(rf"^{name} ==", specification, re.MULTILINE), name


def test_each_assumption_on_the_page_has_its_formula_and_its_model() -> None:
    text = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    specification = (ROOT / "spec" / "AsyncResourcePool.tla").read_text(encoding="utf-8")
    fair = re.search(r"^Fair ==\n((?: .*\n)+)", specification, re.MULTILINE)
    assert fair is not None
    assumed = set(re.findall(r"\w+", fair[1])) - {"Safe"}
    assert set(re.findall(r"^\| `(\w+)` \| [A-Z`]\S* ", text, re.MULTILINE)) >= assumed
    models = {file.stem for file in (ROOT / "spec" / "models").glob("Without*.cfg")}
    assert set(re.findall(r"^\| `(Without\w+)` \|", text, re.MULTILINE)) == models


def test_the_models_of_whole_runs_on_the_page_are_those_of_the_specification() -> None:
    text = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    table = text.partition("### The models of whole runs")[2].partition("### Assumptions that")[0]
    rows = re.findall(r"^\| (?!Property|-)([^|]+) \| ([^|]+) \| `(\w+)` \|", table, re.MULTILINE)
    entries = manifest.read()
    found = {name: (part[2], part[0]) for part in rows for name in re.findall(r"\w+", part[1])}
    assert len(found) == 9
    for name, (formula, properties) in found.items():
        model = (ROOT / "spec" / "models" / f"{name}.cfg").read_text(encoding="utf-8")
        assert entries[name].verdict == "ok"
        assert f"SPECIFICATION {formula}\n" in model
        assert 'Tasks = {"a", "b", "c"}' in model
        assert "Resources = {1, 2, 3}" in model
        checked = model.partition("PROPERTIES")[2].split()
        named = re.findall(r"`(\w+)`", properties)
        assert checked == named or (len(checked) == 5 and properties == "these five")
    others = {
        name
        for name, entry in entries.items()
        if entry.verdict == "ok"
        and "PROPERTIES" in (cfg := (ROOT / "spec" / "models" / f"{name}.cfg").read_text("utf-8"))
        and re.search(r"SPECIFICATION (?!Safe|Spec|NamedSpec|Symmetric)", cfg)
    }
    assert others == {*found}


def test_the_limits_of_work_on_the_pages_are_the_defaults() -> None:
    defaults = signature(import_module("nodetool.concurrency").AsyncResourcePool).parameters
    limits = {
        name: f"{defaults[name].default:g} s"
        for name in ("creation_timeout", "check_timeout", "reset_timeout", "closer_timeout")
    }
    for page in (DOCS / "semantics.md", ROOT / "README.md"):
        written = dict(re.findall(r"\| `(\w+_timeout)`, ([\d.]+ s) \|", page.read_text("utf-8")))
        assert written == limits, page
    semantics = (DOCS / "semantics.md").read_text(encoding="utf-8")
    for name in ("check_after_idle", "exit_timeout"):
        assert f"`{name}`, {defaults[name].default:g} s by default" in semantics


def test_every_counter_is_on_the_page_of_the_semantics() -> None:
    text = (DOCS / "semantics.md").read_text(encoding="utf-8")
    fields = import_module("nodetool.concurrency").PoolStats._fields
    assert not [name for name in fields if not re.search(rf"\b{name}\b", text)]


def test_what_is_to_be_inserted_and_is_not_there_is_an_error() -> None:
    for wanted in ("tla NeverDefined", "section README.md: No such title"):
        with pytest.raises(LookupError):
            hooks.on_page_markdown(f"<!-- insert {wanted} -->")


def test_what_is_inserted_into_a_list_is_indented_as_it_is() -> None:
    inserted = hooks.on_page_markdown("    <!-- insert tla CloseCompletes -->\nrest")
    assert inserted.splitlines()[0] == "    ```text"
    assert "    CloseCompletes == phase" in inserted
    assert inserted.endswith("    ```\nrest")


LIVES = {
    "states.svg": (states.RESOURCE, states.resource_arrows),
    "acquirer.svg": (states.ACQUIRER, states.acquirer_arrows),
}


@pytest.mark.untraced
@pytest.mark.parametrize("name", LIVES)
def test_the_drawn_arrows_are_those_of_the_graphs(name: str) -> None:
    picture = (DOCS / name).read_text(encoding="utf-8")
    assert picture == states.PICTURES[name](), "python -m docs.states"
    drawn = re.findall(r"<title>(\w+) to (\w+): ([\w, ]+)</title>", picture)
    arrows = LIVES[name][1]()
    assert {
        ("" if start == "start" else start, to): frozenset(actions.split(", "))
        for start, to, actions in drawn
    } == arrows
    assert len(drawn) == len(arrows)


@pytest.mark.untraced
@pytest.mark.parametrize("name", LIVES)
def test_an_arrow_too_many_or_too_few_is_an_error(name: str) -> None:
    layout, arrows = LIVES[name][0], dict(LIVES[name][1]())
    with pytest.raises(ValueError, match="free', 'idle'"):
        states.draw(layout, arrows | {("free", "idle"): frozenset({"Resurrect"})})
    lost = next(iter(arrows))
    del arrows[lost]
    with pytest.raises(ValueError, match=re.escape(str(lost))):
        states.draw(layout, arrows)


def test_the_lives_are_what_one_edge_after_the_other_does() -> None:
    """Follow one path by hand, of the one resource of the smallest model."""
    graph = Graph.frozen("Single")
    state, life = graph.initial, []
    for wanted in ("Acquire", "CreateSucceeded", "Resume", "Discard", "CloserEnded"):
        state = next(to for action, to in sorted(graph.edges[state]) if action == wanted)
        life.append((wanted, states.resources(state)[1][0]))
    assert [place for _, place in life] == ["creating", "handed", "held", "closing", "free"]
    arrows = states.resource_arrows()
    places = ["", *(place for _, place in life)]
    for start, (action, to) in zip(places, life, strict=False):
        assert action in arrows[start, to]


def test_the_picture_of_an_outage_is_from_the_run_of_today() -> None:
    picture, parts = outage.outage()
    assert picture == outage.FILE.read_text(encoding="utf-8"), "python -m docs.outage"
    assert [part.server for part in parts] == ["works", "refuses", "hangs", "works", "works"]
    assert [part.answers > 10 for part in parts] == [True, False, False, True, True]
    assert parts[-1].failures == parts[-1].connects_failed == 0


def test_what_the_guide_for_contributors_names_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make (\w+)", text)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"`((?:spec|src|tests|proofs|docs|examples)/[\w./*-]*\w)`", text):
        assert list(ROOT.glob(path.replace("Broken....cfg", "Broken*.cfg"))), path
