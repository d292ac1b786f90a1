"""What is released: the wheel has all that it needs and nothing else, and runs alone."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

from nodetool.concurrency import __version__
from nodetool.concurrency.verify._graph import FROZEN, GRAPHS

ROOT = Path(__file__).parents[1]
STEM = f"nodetool_concurrency-{__version__}"
INFO = f"{STEM}.dist-info"

USE = """
import asyncio
from importlib.util import find_spec

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.testing import Events, explore
from nodetool.concurrency.timeline import Timeline
from nodetool.concurrency import __version__
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
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--sdist", "--no-isolation"]
    done = subprocess.run(
        [*command, "--outdir", folder, ROOT],
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


@pytest.fixture(scope="module")
def wheel(dist: Path) -> dict[str, bytes]:
    """The files in the wheel."""
    with zipfile.ZipFile(dist / f"{STEM}-py3-none-any.whl") as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


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
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text("utf-8").strip()


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
        *("Makefile", "LICENSE", "mkdocs.yml", "pyproject.toml", "PKG-INFO", ".gitignore")
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
