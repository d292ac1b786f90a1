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
Draw a recorded run of a pool as SVG: which task held which resource, which task waited for it, and
why each resource was closed. To record a run, pass the pool a listener,
nodetool.concurrency.timeline.Timeline(), and call its save(FILE) at the end. The file also opens in
viewers of Chrome traces, such as Perfetto."""


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nodetool.concurrency.timeline", description=DESCRIPTION
    )
    add = parser.add_argument
    add("recording", metavar="FILE", type=Path, help="a file that Timeline.save wrote")
    add("-o", "--output", metavar="SVG", type=Path, help="the picture (default: FILE as .svg)")
    add("--width", type=int, default=1200, metavar="N", help="width in pixels (%(default)s)")
    add(
        "--rows",
        type=int,
        default=40,
        metavar="N",
        help="maximum number of rows of resources, and of rows of waits (%(default)s)",
    )
    add("--from", dest="start", type=float, metavar="S", help="seconds from the run's start")
    add("--to", dest="end", type=float, metavar="S", help="seconds from the run's start")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = parse_arguments(arguments)
    output = options.output or options.recording.with_suffix(".svg")
    try:
        if output == options.recording or (output.exists() and output.samefile(options.recording)):
            raise ValueError(f"{output} is the recording itself: choose another -o")
        picture = draw(
            load(options.recording),
            width=options.width,
            rows=options.rows,
            start=options.start,
            end=options.end,
        )
        output.write_text(picture, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
