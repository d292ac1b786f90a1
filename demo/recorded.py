"""The check of the steps that the pool under load has recorded, in another process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

COMMAND = (sys.executable, "-m", "nodetool.concurrency.verify", "--trace")


class Recorded(NamedTuple):
    """What the check of the recorded steps has found."""

    holds: bool
    detail: str


UNCHECKED = Recorded(False, "not checked")


def check_recorded(trace: Path) -> Recorded:
    """Compare the recorded steps with the specification."""
    done = subprocess.run([*COMMAND, str(trace)], capture_output=True, text=True, check=False)
    steps = re.search(r"^all of it holds: ([0-9,]+ steps) .*", done.stdout, re.MULTILINE)
    if done.returncode == 0 and steps is not None:
        return Recorded(True, f"{steps[1]} are behaviours of the specification")
    return Recorded(False, (done.stdout + done.stderr).strip().splitlines()[-1])
