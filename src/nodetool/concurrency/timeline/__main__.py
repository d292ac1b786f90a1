"""The command ``python -m nodetool.concurrency.timeline``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ._drawing import draw
from ._recording import load

USAGE = 2

DESCRIPTION = """\
Draw a recorded run of a pool as SVG: who held which resource, who waited for it, and why each was
closed. To record one, give the pool a listener, nodetool.concurrency.timeline.Timeline(), and call
its save(FILE) at the end. The file also opens in viewers of Chrome traces, such as Perfetto."""


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nodetool.concurrency.timeline", description=DESCRIPTION
    )
    add = parser.add_argument
    add("recording", metavar="FILE", type=Path, help="written by Timeline.save")
    add("-o", "--output", metavar="SVG", type=Path, help="default: beside FILE, named .svg")
    add("--width", type=int, default=1200, metavar="N", help="pixels (%(default)s)")
    add(
        "--rows",
        type=int,
        default=40,
        metavar="N",
        help="of resources, and of waits, at most (%(default)s)",
    )
    add("--from", dest="start", type=float, metavar="S", help="seconds from the run's start")
    add("--to", dest="end", type=float, metavar="S", help="seconds from the run's start")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    chosen = options(arguments)
    output = chosen.output or chosen.recording.with_suffix(".svg")
    try:
        if output == chosen.recording or (output.exists() and output.samefile(chosen.recording)):
            raise ValueError(f"{output} is the recording itself: choose another -o")
        picture = draw(
            load(chosen.recording),
            width=chosen.width,
            rows=chosen.rows,
            start=chosen.start,
            end=chosen.end,
        )
        output.write_text(picture, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
