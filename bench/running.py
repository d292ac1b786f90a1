"""Run of one workload with one contender, in this process or in one of its own.

python -m bench.running WORKLOAD CONTENDER [--size FACTOR] [--uvloop]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from nodetool.concurrency.verify._virtual_time import VirtualTimeLoop

from .contenders import Contender, LacksError, missing
from .floors import Floor
from .peers import PEERS
from .pools import DEBUG, HAND_ROLLED, OURS
from .size import Size
from .workloads import WORKLOADS, Workload

ROOT = Path(__file__).parent.parent
PATIENCE = 900.0  # seconds for one process

CONTENDERS: tuple[Contender, ...] = (Floor(), *OURS, *DEBUG, *HAND_ROLLED, *PEERS)


@dataclass(frozen=True)
class Outcome:
    """The figures of one run, or the reason why there are none."""

    figures: dict[str, float]
    reason: str = ""


def group(contender: Contender) -> str:
    """Return the name of the contender's group: all variants of our pool are `ours`."""
    return contender.name.split(",")[0]


def applies(workload: Workload, contender: Contender) -> bool:
    """Tell whether the workload is meant for this contender."""
    kind = contender.name.partition(", ")[2]
    if kind:
        return workload.limits if kind == "limits" else workload.debug
    return group(contender) == "ours" or not workload.only_ours


def loop_factory(workload: Workload, uvloop: bool) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the factory of the event loop for a run."""
    if workload.virtual:
        return VirtualTimeLoop
    if uvloop:
        factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
        return factory
    return asyncio.new_event_loop


def measure(workload: Workload, contender: Contender, size: Size, uvloop: bool = False) -> Outcome:
    """Run in this process, without the cyclic garbage collector."""
    if module := missing(contender):
        return Outcome({}, f"not installed ({module})")
    collecting = gc.isenabled()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=loop_factory(workload, uvloop)) as runner:
            return Outcome(runner.run(workload.measure(contender, size)))
    except LacksError as lack:
        return Outcome({}, str(lack))
    finally:
        if collecting:
            gc.enable()


def in_own_process(
    workload: Workload, contender: Contender, size: Size, uvloop: bool = False
) -> Outcome:
    """Run in a new process."""
    command = [sys.executable, "-m", f"{__package__}.running", workload.name, contender.name]
    command += ["--size", str(size.factor), *(["--uvloop"] if uvloop else [])]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome({}, f"no end within {PATIENCE:g} s")
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return Outcome({}, f"failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.running", description="Run one workload with one contender."
    )
    parser.add_argument(
        "workload",
        metavar="WORKLOAD",
        choices=[workload.name for workload in WORKLOADS],
        help="Run this workload.",
    )
    parser.add_argument(
        "contender",
        metavar="CONTENDER",
        choices=[contender.name for contender in CONTENDERS],
        help="Run it with this contender.",
    )
    parser.add_argument(
        "--size", type=float, default=1.0, metavar="FACTOR", help="Multiply the work."
    )
    parser.add_argument("--uvloop", action="store_true", help="Use the event loop uvloop.")
    options = parser.parse_args(arguments)
    workload: Any = next(w for w in WORKLOADS if w.name == options.workload)
    contender = next(c for c in CONTENDERS if c.name == options.contender)
    logging.getLogger().addHandler(logging.NullHandler())
    outcome = measure(workload, contender, Size(options.size), options.uvloop)
    print(json.dumps({"figures": outcome.figures, "reason": outcome.reason}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
