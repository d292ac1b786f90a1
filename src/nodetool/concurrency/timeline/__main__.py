"""The command ``python -m nodetool.concurrency.timeline``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nodetool.concurrency import __version__

from ._drawing import draw
from ._recording import load

USAGE = 2

PROGRAM = "python -m nodetool.concurrency.timeline"

DESCRIPTION = """\
Draw a recorded run of a pool as SVG. The picture shows which task held which resource, and which
task waited for it. It also shows why each resource was closed. To record a run, pass the listener
nodetool.concurrency.timeline.Timeline() to the pool, and call its save(FILE) at the end. Viewers of
Chrome traces, such as Perfetto, open the file, too."""


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=DESCRIPTION)
    add = parser.add_argument
    add(
        "--version",
        action="version",
        version=f"nodetool-concurrency {__version__}",
        help="Print the version of the package, and exit.",
    )
    add("recording", metavar="FILE", type=Path, help="Read this file. Timeline.save wrote it.")
    add(
        "-o",
        "--output",
        metavar="SVG",
        type=Path,
        help="Write the picture to this file. The default is FILE with the ending .svg.",
    )
    add(
        "--width",
        type=int,
        default=1200,
        metavar="N",
        help="Make the picture N pixels wide. The default is %(default)s.",
    )
    add(
        "--rows",
        type=int,
        default=40,
        metavar="N",
        help="Draw at most N rows of resources, and N rows of waits. The default is %(default)s.",
    )
    add(
        "--from",
        dest="start",
        type=float,
        metavar="S",
        help="Begin the picture S seconds after the start of the run.",
    )
    add(
        "--to",
        dest="end",
        type=float,
        metavar="S",
        help="End the picture S seconds after the start of the run.",
    )
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
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return USAGE
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
