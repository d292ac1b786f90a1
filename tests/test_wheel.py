"""What is released: the wheel has all that it needs and nothing else, and runs alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

from hatch_build import with_absolute_links
from nodetool.concurrency import __version__
from nodetool.concurrency.verify._graph import FROZEN, GRAPHS

ROOT = Path(__file__).parents[1]
STEM = f"nodetool_concurrency-{__version__}"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ADDRESS = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]["address"]
HOST = "https://host/me/pool"
INFO = f"{STEM}.dist-info"

USE = """
import asyncio
from importlib.util import find_spec

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.testing import Events, explore
from nodetool.concurrency.timeline import Timeline
from nodetool.concurrency.verify._graph import FROZEN, Graph

import nodetool.another


async def main() -> None:
    timeline = Timeline("pool")
    async with AsyncResourcePool(object, max_size=2, listener=timeline) as pool:
        async with pool.acquire_context(), pool.acquire_context():
            print(pool.stats().in_use, "in use")
    print(len(timeline.recording().events), "events")


async def scenario(events: Events) -> None:
    await events.call("anything")


asyncio.run(main())
assert explore(scenario).failure is None
print(sum(len(Graph.frozen(model).edges) for model in FROZEN), "states")
assert not [name for name in ("icontract", "hypothesis", "opentelemetry") if find_spec(name)]
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheel and the sdist."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture
def unpacked(dist: Path, tmp_path: Path) -> Path:
    """The project as the sdist has it, unpacked now."""
    with tarfile.open(dist / f"{STEM}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    for file in (tmp_path / STEM).rglob("*"):
        file.touch()
    return tmp_path / STEM


def build(project: Path, folder: Path) -> Path:
    """Build the wheel and the sdist of a project into a folder."""
    command = [sys.executable, "-m", "build", "--wheel", "--sdist", "--no-isolation"]
    done = subprocess.run(
        [*command, "--outdir", folder, project],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {file.name for file in folder.iterdir()} == {
        f"{STEM}-py3-none-any.whl",
        f"{STEM}.tar.gz",
    }
    return folder


def files(dist: Path) -> dict[str, bytes]:
    """Read the files in a wheel."""
    with zipfile.ZipFile(dist / f"{STEM}-py3-none-any.whl") as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(dist: Path) -> dict[str, bytes]:
    """The files in the wheel."""
    return files(dist)


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    return BytesParser().parsebytes(wheel[f"{INFO}/METADATA"])


def test_the_wheel_has_the_package_as_it_is_and_nothing_else(wheel: dict[str, bytes]) -> None:
    source = ROOT / "src"
    package = {
        file.relative_to(source).as_posix(): file.read_bytes()
        for file in source.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    about = {f"{INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")}
    assert set(wheel) - set(package) == about
    assert {name: wheel.get(name) for name in package} == package


def test_the_wheel_has_types_graphs_and_no_init_of_the_namespace(wheel: dict[str, bytes]) -> None:
    assert "nodetool/concurrency/py.typed" in wheel
    graphs = {f"nodetool/concurrency/verify/graphs/{name}.graph.gz" for name in FROZEN}
    assert graphs <= set(wheel)
    assert len(graphs) == len(FROZEN) <= len(list(GRAPHS.glob("*.gz")))
    assert "nodetool/__init__.py" not in wheel


def test_the_metadata_say_what_it_is(metadata: Message) -> None:
    assert metadata["Name"] == "nodetool-concurrency"
    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE"]
    classifiers = metadata.get_all("Classifier", [])
    assert {"Framework :: AsyncIO", "Typing :: Typed"} <= set(classifiers)
    assert metadata["Description-Content-Type"] == "text/markdown"
    if not ADDRESS:
        assert str(metadata.get_payload()).strip() == README.strip()
        assert metadata["Project-URL"] is None


def test_a_package_index_gets_absolute_links(unpacked: Path, tmp_path: Path) -> None:
    settings = unpacked / "pyproject.toml"
    text = settings.read_text(encoding="utf-8")
    line = f'\naddress = "{ADDRESS}"\n'
    assert text.count(line) == 1
    settings.write_text(text.replace(line, f'\naddress = "{HOST}/"\n'), encoding="utf-8")
    built = build(unpacked, tmp_path / "dist")
    with tarfile.open(built / f"{STEM}.tar.gz") as archive:
        member = archive.extractfile(f"{STEM}/PKG-INFO")
        assert member is not None
        of_sdist = BytesParser().parsebytes(member.read())
    of_wheel = BytesParser().parsebytes(files(built)[f"{INFO}/METADATA"])
    urls = [line.partition(", ")[2] for line in of_wheel.get_all("Project-URL", [])]
    assert len(urls) == 4
    assert all(url.startswith(HOST) for url in urls)
    shown = str(of_wheel.get_payload())
    assert shown == str(of_sdist.get_payload())
    links = re.findall(r"\]\(([^)]+)\)", shown)
    assert len(links) == len(re.findall(r"\]\(", README)) > 10
    for link in links:
        kind, _, path = link.removeprefix(f"{HOST}/").partition(f"/v{__version__}/")
        target = ROOT / path.partition("#")[0]
        assert link == f"{HOST}/{kind}/v{__version__}/{path}"
        assert kind == ("tree" if target.is_dir() else "blob")
        assert target.exists()


def test_every_kind_of_link_becomes_absolute() -> None:
    page = (
        "![A picture](docs/states.svg) [![In a link](docs/states.svg)](docs/semantics.md#size) "
        "[Folder](examples) [Other](https://other/x.md) [Here](#use)"
    )
    assert with_absolute_links(page, "https://host/p", "1.2.3", ROOT) == (
        "![A picture](https://host/p/raw/v1.2.3/docs/states.svg) "
        "[![In a link](https://host/p/raw/v1.2.3/docs/states.svg)]"
        "(https://host/p/blob/v1.2.3/docs/semantics.md#size) "
        "[Folder](https://host/p/tree/v1.2.3/examples) [Other](https://other/x.md) [Here](#use)"
    )


def complaints(changelog: str, address: str, readme: str) -> list[str]:
    """List what a release misses. A version with a date in the changelog is a release."""
    newest = re.search(r"^## (\S+)(?: - (\S+))?$", changelog, re.MULTILINE)
    if newest is None or newest[1] != __version__:
        return [f"The first section of CHANGELOG.md must be: {__version__} - DATE"]
    if newest[2] == "unreleased":
        return []
    found = []
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", newest[2] or ""):
        found.append("The first section of CHANGELOG.md must have a date, or be unreleased")
    if not re.fullmatch(r"https://[^/]+/.+[^/]", address):
        found.append("pyproject.toml must have the address of the repository")
    if "not on a package index" in readme:
        found.append("README.md must say how to install the package from the index")
    return found


def test_a_release_has_an_address_and_a_date() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert not complaints(changelog, ADDRESS, README)


def test_a_release_without_an_address_is_noticed() -> None:
    before = "is not on a package index yet"
    dated, undated = (f"## {__version__} - {date}" for date in ("2026-12-01", "unreleased"))
    assert not complaints(undated, "", before)
    assert not complaints(dated, HOST, "pip install")
    assert len(complaints(dated, "", "pip install")) == 1
    assert len(complaints(dated, f"{HOST}/", "pip install")) == 1
    assert len(complaints(dated, HOST, before)) == 1
    assert len(complaints(f"## {__version__} - today", HOST, "")) == 1
    assert len(complaints("## 0.0.1 - 2026-12-01", HOST, "")) == 1


def test_the_wheel_and_the_sdist_are_reproducible(
    dist: Path, unpacked: Path, tmp_path: Path
) -> None:
    """Compare with a build from the unpacked sdist, at another time."""
    second = build(unpacked, tmp_path / "dist")
    for file in dist.iterdir():
        assert (second / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.slow
@pytest.mark.untraced
def test_the_sdist_passes_its_own_tests(unpacked: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-m", "not slow"],
        cwd=unpacked,
        env=os.environ | {"PYTHONPATH": str(unpacked / "src"), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr


def test_nothing_is_required_but_by_an_extra(metadata: Message) -> None:
    extras = set(metadata.get_all("Provides-Extra", []))
    assert {"debug", "verify", "otel", "ray"} <= extras
    required = metadata.get_all("Requires-Dist", [])
    assert required
    assert not [line for line in required if "extra ==" not in line]


def test_the_wheel_is_for_every_platform(wheel: dict[str, bytes]) -> None:
    about = BytesParser().parsebytes(wheel[f"{INFO}/WHEEL"])
    assert about["Root-Is-Purelib"] == "true"
    assert about.get_all("Tag") == ["py3-none-any"]


def test_the_sdist_has_all_that_is_needed_to_test_it(dist: Path) -> None:
    with tarfile.open(dist / f"{STEM}.tar.gz") as archive:
        names = {name.removeprefix(f"{STEM}/") for name in archive.getnames()}
    top = {name.partition("/")[0] for name in names}
    folders = {"src", "tests", "spec", "proofs", "bench", "demo", "docs", "examples"}
    assert folders | {"Makefile", "LICENSE", "mkdocs.yml", "pyproject.toml", "PKG-INFO"} <= top
    pages = {page.name for page in ROOT.glob("*.md")}
    assert top == folders | pages | {
        *("Makefile", "LICENSE", "mkdocs.yml", "pyproject.toml", "PKG-INFO", ".gitignore"),
        "hatch_build.py",
    }
    assert "spec/models/Wide.cfg" in names
    assert "proofs/mutants.toml" in names
    assert "docs/index.md" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


@pytest.fixture(scope="module")
def alone(wheel: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and a module in the same namespace."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    there = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", there))
    for name, content in wheel.items():
        file = packages / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    elsewhere = folder / "elsewhere" / "nodetool"
    elsewhere.mkdir(parents=True)
    (elsewhere / "another.py").touch()
    (packages / "elsewhere.pth").write_text(str(elsewhere.parent), encoding="utf-8")
    return Path(sysconfig.get_path("scripts", "venv", there)) / "python"


def run(interpreter: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [interpreter, "-I", "-W", "error", *arguments],
        cwd=interpreter.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_runs_alone_beside_others_of_its_namespace(alone: Path) -> None:
    done = run(alone, "-c", USE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["2 in use", "8 events"]
    assert done.stdout.splitlines()[2].endswith(" states")
    assert not done.stderr


@pytest.mark.parametrize("command", ["verify", "testing", "timeline"])
def test_every_command_says_how_it_is_used_alone(alone: Path, command: str) -> None:
    done = run(alone, "-m", f"nodetool.concurrency.{command}", "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m nodetool.concurrency.{command}" in done.stdout


def test_what_needs_an_extra_says_which(alone: Path) -> None:
    done = run(alone, "-m", "nodetool.concurrency.verify")
    assert done.returncode == 2
    assert "nodetool-concurrency[verify]" in done.stderr
    done = run(alone, "-c", "import nodetool.concurrency.otel")
    assert "nodetool-concurrency[otel]" in done.stderr
    done = run(
        alone, "-c", "import nodetool.concurrency as c; c.AsyncResourcePool(int, debug=True)"
    )
    assert "nodetool-concurrency[debug]" in done.stderr
