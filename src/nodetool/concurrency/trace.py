"""Traces: files that record the steps of pools, so that another process can check them later.

``python -m nodetool.concurrency.verify --trace FILE`` checks them.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from ._trace_writer import TraceWriter

__all__ = ["TraceFile"]


class TraceFile:
    """A file to which pools write their steps, in parts of limited size.

    Pass one trace to any number of pools, as their argument `trace`. A pool writes one line for
    each step: the action, the time, the slot, the waiter, and the pool's answer. A trace holds the
    names and the numeric options of pools. It holds no data of resources and no texts of errors.

    The pools only append their lines to a buffer. A thread writes the buffer to the file, so a slow
    disk does not block the event loop. If the thread cannot write, or if the disk is too slow, it
    logs one warning and drops the lines. The pools go on. Later the trace goes on in a new file.

    The files are called ``<path>-<process id>-<number>``. In each file, a pool first writes its
    whole state. So each file can be checked alone. A forked child writes files of its own.

    Args:
        path: The beginning of the names of the files.
        max_bytes: If a file has more bytes than this, the trace goes on in the next file.
        keep: How many files with the same path and process id to keep. The trace removes the oldest
            ones.

    Raises:
        OSError: The first file cannot be made.
        ValueError: `max_bytes` or `keep` is below 1.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, max_bytes: int = 64 * 2**20, keep: int = 4
    ) -> None:
        for name, value in (("max_bytes", max_bytes), ("keep", keep)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value!r}")
        self._writer = TraceWriter(Path(path), max_bytes, keep)

    def close(self) -> None:
        """Write the remaining lines, and record no more steps. The pools may go on.

        The call waits for the disk. At the end of the process, Python makes this call by itself.
        """
        self._writer.close()

    def __enter__(self) -> Self:
        """Return the trace."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the trace."""
        self.close()
