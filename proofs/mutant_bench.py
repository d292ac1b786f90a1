"""The bench: each mutant is examined in a copy of the project, by a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from proofs.generated_mutants import CHAINS
from proofs.mutant_ledger import LAYERS, ROOT, Mutant, sources

__all__ = ["PARTS", "POOL", "ROOT", "Baseline", "Bench", "Found", "Results"]

PARTS = ("src", "tests", "proofs", "spec", "pyproject.toml", "README.md", "DESIGN.md")
APART = {  # no check of a mutant uses these files, so no result depends on them
    *(f"src/nodetool/concurrency/{name}" for name in ("otel.py", "testing", "timeline")),
    "src/nodetool/concurrency/verify/_explored_pools.py",  # it imports `testing`
    *(f"tests/{name}" for name in ("demo", "examples", "otel", "proofs", "resources", "schedules")),
    *(f"tests/{name}" for name in ("spec", "testing", "timeline", "verify")),
    *(f"tests/test_{name}.py" for name in ("architecture", "bench", "bench_gains", "bench_ladder")),
    *(f"tests/test_{name}.py" for name in ("bench_page", "bench_soak", "docs", "guarantee_marks")),
    *(f"tests/test_{name}.py" for name in ("layers", "matrix", "private_state", "readme", "wheel")),
    *(f"proofs/{name}.py" for name in ("assurance", "checkers", "places", "schedules")),
    "proofs/scenarios",
}
POOL = "src/nodetool/concurrency"
# The checks that use the machine only. Their results stay valid if the runtime or its tests change.
OF_THE_MACHINE = ("counts graph", "graph ", "contents ", "contracts ", "z3 numbers")
OF_THE_RUNTIME = (
    *LAYERS["runtime"],
    *("__init__.py", "_messages.py", "_options.py", "_runtime/__init__.py", "_stats.py"),
    "_tracking.py",
)
OURS = (
    "mutants.py",
    "mutants.toml",
    "mutant_bench.py",
    "mutant_edits.py",
    "mutant_ledger.py",
    "generated_mutants.py",
    "test_mutants.py",
)

FIRST = 900.0  # seconds that a check may take on the unchanged project
PATIENCE = 20.0  # on a mutant: these seconds, plus eight times those of the unchanged project
TIME = "time"  # the verdict if a check takes longer

Found = dict[str, str]  # the verdict of each check
Baseline = Mapping[str, tuple[str, float]]  # verdict and seconds of each check, without a mutant


class Results:
    """The results of this run and of earlier ones, on disk."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self.kept: dict[str, Any] = {}
        if path.exists() and not fresh:
            self.kept = json.loads(path.read_text(encoding="utf-8"))
        self.lock = threading.Lock()

    def keep(self, key: str, value: Any) -> None:
        with self.lock:
            self.kept[key] = value
            self.path.parent.mkdir(exist_ok=True)
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps(self.kept, indent=0), encoding="utf-8")
            new.replace(self.path)


class Bench:
    """A copy of the project made when the run began, and copies of that copy with a mutant."""

    def __init__(self, folder: Path, results: Results) -> None:
        self.folder, self.results = folder, results
        self.running: set[int] = set()  # the sessions that have not ended
        self.original = folder / "original"
        for part in PARTS:
            source, copy = ROOT / part, self.original / part
            if source.is_dir():
                shutil.copytree(source, copy, ignore=_apart)
            else:
                shutil.copy2(source, copy)
        self.texts = sources(self.original / POOL)
        files = sorted(file for file in self.original.rglob("*") if self._counts(file))
        everything = {file.relative_to(self.original): file.read_bytes() for file in files}
        runtime = {Path(POOL, name) for name in OF_THE_RUNTIME}
        machines = {
            name: text
            for name, text in everything.items()
            if name.parts[0] in ("src", "spec", "proofs") and name not in runtime
        }
        self.digests = {True: _digest(machines), False: _digest(everything)}

    def _counts(self, file: Path) -> bool:
        """Check whether results depend on this file."""
        return file.suffix in {".py", ".gz", ".tla", ".cfg", ".toml"} and file.name not in OURS

    def key(self, mutant: Mutant | None, checks: Sequence[str], *, machine: bool = False) -> str:
        """Identify a result. If `machine` is true, only the checks that use the machine gave it."""
        what = [] if mutant is None else sorted(mutant.files(self.texts).items())
        return _digest((self.digests[machine], what, list(checks)))[:24]

    def baseline(self, checks: Sequence[str]) -> dict[str, tuple[str, float]]:
        """Run the checks on the unchanged project. Return the verdict and the seconds of each."""
        known: dict[str, tuple[str, float]] = {}
        for number, check in enumerate(checks, 1):
            if check.startswith("TLC "):  # `python -m spec` checks the unchanged modules
                known[check] = "", FIRST / 8
                continue
            key = self.key(None, [check])
            if key not in self.results.kept:
                begin = time.perf_counter()
                found = self.run(None, [check], dict.fromkeys(checks, FIRST), stop=False)
                self.results.keep(key, [found.get(check, ""), time.perf_counter() - begin])
            said, seconds = self.results.kept[key]
            known[check] = said, seconds
            print(f"  {number}/{len(checks)}  unchanged: {check}: {said or 'nothing'}", flush=True)
        return known

    def examine(self, mutant: Mutant, baseline: Baseline, *, argued: bool = False) -> Found:
        """Run the checks on a mutant: all its killers, or its chain until one finds something.

        If the mutant is argued to be equivalent, only the checks that use the machine alone run.
        """
        checks = CHAINS[mutant.layer] if mutant.generated else tuple(mutant.killers)
        if argued:
            checks = tuple(check for check in checks if check.startswith(OF_THE_MACHINE))
        keys = {machine: self.key(mutant, checks, machine=machine) for machine in (True, False)}
        for key in keys.values():
            if key in self.results.kept:
                return dict(self.results.kept[key])
        limits = {check: PATIENCE + 8 * baseline[check][1] for check in checks}
        found = self.run(mutant, checks, limits, stop=mutant.generated)
        self.results.keep(keys[all(check.startswith(OF_THE_MACHINE) for check in found)], found)
        return found

    def run(
        self, mutant: Mutant | None, checks: Sequence[str], limits: Mapping[str, float], stop: bool
    ) -> Found:
        """Run the checks in a process that imports the pool from a copy that has the mutant."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            copy = Path(name) / "copy"
            shutil.copytree(self.original, copy, copy_function=os.link)
            changed = {} if mutant is None else mutant.files(self.texts)
            for file, text in changed.items():
                path = copy / POOL / file
                for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
                    compiled.unlink()
                path.unlink()  # because it is a link to the original
                path.write_text(text, encoding="utf-8")
            return self._examined(copy, {**self.texts, **changed}, checks, limits, stop)

    def _examined(
        self,
        copy: Path,
        texts: Mapping[str, str],
        checks: Sequence[str],
        limits: Mapping[str, float],
        stop: bool,
    ) -> Found:
        command = [sys.executable, "-m", "proofs.mutant_checks", str(copy), str(int(stop)), *checks]
        path = f"{copy / 'src'}{os.pathsep}{copy}"
        own = {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        with (
            (copy.parent / "log").open("wb") as log,
            subprocess.Popen(
                command, cwd=copy, env=os.environ | own | {"PYTEST_ADDOPTS": ""}, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True,
            ) as process,
        ):  # fmt: skip
            self.running.add(process.pid)
            try:
                return verdicts_of(process, texts, checks, limits, stop)
            finally:
                self.running.discard(process.pid)
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Kill the processes that still run."""
        for session in [*self.running]:
            with suppress(ProcessLookupError):
                os.killpg(session, signal.SIGKILL)


def _digest(what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()


def _apart(folder: str, names: list[str]) -> set[str]:
    """Name the files of a folder that are not copied."""
    place = Path(folder).relative_to(ROOT)
    return {n for n in names if (place / n).as_posix() in APART or n.endswith(".egg-info")}


def verdicts_of(
    process: subprocess.Popen[str],
    texts: Mapping[str, str],
    checks: Sequence[str],
    limits: Mapping[str, float],
    stop: bool,
) -> Found:
    """Read the verdicts from the process. A check that takes too long gets the verdict `TIME`."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("{}")

    threading.Thread(target=listen, daemon=True).start()
    found: Found = {}
    for check in ("import", *checks):
        try:
            said = json.loads(lines.get(timeout=limits.get(check, 120)))
        except queue.Empty:
            return {**found, check: TIME}
        if check == "import":
            if "imported" not in said:
                return {"import": said.get("found", "it ends")}
            expected = {name: hashlib.sha256(t.encode()).hexdigest() for name, t in texts.items()}
            del expected["__init__.py"]
            if said["imported"] != expected:
                raise RuntimeError("the process did not import the files that it had to")
            continue
        found[check] = said.get("found", "crash: it ends")
        if "found" not in said or (stop and found[check]):
            break
    return found
