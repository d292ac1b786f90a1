"""The command lines print their version, describe every option, and have one form of errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nodetool.concurrency import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = "nodetool.concurrency"
COMMANDS = [
    f"{PACKAGE}.{file.parent.name}"
    for file in sorted((ROOT / "src" / "nodetool" / "concurrency").glob("*/__main__.py"))
]
OPTION = re.compile(r"^  (-\S|[A-Z])")
SENTENCE = re.compile(r"[A-Z].*\.")


def tools() -> list[str]:
    """List the other commands of the project: the modules that parse arguments.

    The commands of the checkers are left out, because a report of a checker is older than its
    sources after each change of its help.
    """
    parse = "argparse.Argument" + "Parser("
    modules = {
        file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for folder in ("bench", "demo", "tests")
        for file in (ROOT / folder).rglob("*.py")
        if parse in file.read_text(encoding="utf-8")
    }
    return sorted({name.removesuffix(".__main__") for name in modules} - {"demo.run"} | {"demo"})


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", command, *arguments],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "300"},  # so that no line is broken
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def options(help_text: str) -> dict[str, str]:
    """Return the description of each option and argument in a help text."""
    found = {}
    lines = help_text.splitlines()
    for number, line in enumerate(lines):
        if OPTION.match(line):
            name, _, words = line.strip().partition("  ")
            following = lines[number + 1] if number + 1 < len(lines) else ""
            on_its_own = following.startswith("   ") and not words
            found[name] = (following if on_its_own else words).strip()
    del found["-h, --help"]  # these words are argparse's
    return found


def test_the_package_has_three_commands() -> None:
    assert {name.rpartition(".")[2] for name in COMMANDS} == {"testing", "timeline", "verify"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_prints_the_version_of_the_package(command: str) -> None:
    done = run(command, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"nodetool-concurrency {__version__}\n"


@pytest.mark.parametrize("command", [*COMMANDS, *tools()])
def test_a_command_describes_itself_and_every_option_in_sentences(command: str) -> None:
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    usage, description = done.stdout.split("\n\n")[:2]
    assert usage.startswith(f"usage: python -m {command} ")
    assert SENTENCE.fullmatch(description.replace("\n", " "))
    described = options(done.stdout)
    assert set(re.findall(r"--[\w-]+", usage)) <= {
        name for names in described for name in re.findall(r"--[\w-]+", names)
    } | {"--help"}
    assert not {name: text for name, text in described.items() if not SENTENCE.fullmatch(text)}


@pytest.mark.parametrize("command", [*COMMANDS, "demo"])
def test_a_wrong_option_is_an_error_with_the_command_as_its_prefix(command: str) -> None:
    done = run(command, "--no-such-option")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"python -m {command}: error: ")


def test_the_options_of_a_help_text_are_found() -> None:
    text = "usage: x\n\noptions:\n  -h, --help  show\n  --long NAME\n      Words.\n  FILE  One.\n"
    assert options(text) == {"--long NAME": "Words.", "FILE": "One."}
