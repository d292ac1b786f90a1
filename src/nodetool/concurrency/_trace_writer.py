"""The writer of a trace: a buffer for lines of pools, and a thread that writes them to files."""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import time
import weakref
from asyncio import _get_running_loop
from collections import deque
from contextlib import suppress
from contextvars import Context
from io import FileIO
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

from ._runtime.callbacks import described, log

VERSION = 1
DELAY = 0.2  # seconds that the thread collects lines before it writes them
PAUSE = 60.0  # seconds until the thread tries again after a failure
PART = 2**20  # bytes of lines after which each pool writes its state again
MOST = 100_000  # lines that may wait when a part ends; they take some ten megabytes
CHUNK = 20_000  # lines that the thread writes at once

NEXT_FILE = ""  # among the lines: the following lines belong into the next file
STOPPED = (
    "trace %s: it records no more steps: %s. The pools go on. The trace tries again every %g s, "
    "in a new file"
)


class TraceWriter:
    """The buffer, the thread and the files of a trace.

    Pools append lines to the buffer. The thread takes them out and writes them.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self._path = path.absolute()
        self._max_bytes = max_bytes
        self._keep = keep
        self._pools = count(1)
        # The number of the present part. A pool writes its state before its first step in a part.
        self.part: int = 0
        self._file: FileIO | None = None
        self._begin()
        self._open(follows=False)
        _writers.add(self)
        atexit.register(self.close)

    def _begin(self) -> None:
        """Begin to record in this process."""
        self._run = os.urandom(8).hex()
        self._files = 0  # how many files this run has
        self._lines: deque[str] = deque()  # that wait for the thread
        self._size = 0  # bytes of the lines for the present file so far
        self._is_recording = True
        self._has_too_many = False  # whether more lines wait than the trace keeps
        self._has_failed = False  # whether nothing was written since the last failure
        self._thread: Thread | None = None
        self._is_asleep = True  # whether the thread waits for lines
        self._has_lines = Event()
        self._hurry = Event()  # whether the thread has to write now
        self._closing = Event()
        self._begin_part()

    def close(self) -> None:
        """Write the remaining lines, and record no more steps."""
        atexit.unregister(self.close)
        _writers.discard(self)
        self._is_recording = False
        for event in (self._closing, self._has_lines, self._hurry):
            event.set()
        if self._thread is not None:
            self._thread.join()
        self._drain()
        with suppress(OSError):  # some disks report here that they are full
            self._leave_file()

    # Methods for pools. They do not wait.

    def new_number(self) -> int:
        """Return a number for a pool."""
        return next(self._pools)

    def write(self, line: str) -> None:
        """Append a line, unless the trace drops lines at the moment."""
        if not self._is_recording:
            return
        self._lines.append(line)
        self._size += len(line) + 1
        if self._size > self._part_ends:
            self._end_part()
        if self._is_asleep:
            self._wake()

    def write_state(self, line: str) -> None:
        """Append a line with the state of a pool. It is no reason to begin a new file."""
        if self._is_recording:
            self._lines.append(line)
            if self._is_asleep:
                self._wake()

    def _end_part(self) -> None:
        if self._size > self._max_bytes:
            self._size = 0
            self._lines.append(NEXT_FILE)
        if len(self._lines) > MOST:
            self._has_too_many, self._is_recording = True, False  # in this order, for the thread
        self._hurry.set()
        self._begin_part()

    def _begin_part(self) -> None:
        self.part += 1
        self._part_ends = min(self._size + PART, self._max_bytes)

    def _wake(self) -> None:
        self._is_asleep = False
        if self._thread is None:
            name = f"trace {self._path.name}"
            self._thread = Thread(target=self._work, name=name, daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # there are too many threads, or the process ends
                self._thread = None
                self._is_recording = False
                self._has_failed = True
                # Log after the step in progress, because a logging handler may call the pool.
                loop = _get_running_loop()
                if loop is not None:
                    loop.call_soon(self._warn, error, context=Context())
        self._has_lines.set()

    # Methods of the thread.

    def _work(self) -> None:
        """Write lines until the trace is closed."""
        while not self._closing.is_set():
            self._has_lines.wait()
            self._has_lines.clear()
            self._hurry.wait(DELAY)
            self._hurry.clear()
            self._is_asleep = True  # before the lines are taken, so that none is overlooked
            self._drain()
            if self._has_too_many:
                self._fail(OSError("the disk is too slow"))
            while not (self._is_recording or self._closing.wait(PAUSE)):
                self._try_again()

    def _drain(self) -> None:
        """Write all lines that wait."""
        try:
            while self._lines:
                self._write_some()
        except OSError as error:
            self._fail(error)

    def _write_some(self) -> None:
        """Write lines, at most to the end of a part."""
        if self._file is None:  # in a forked child
            self._open(follows=False)
        chunk = []
        line = ""
        for _ in range(min(len(self._lines), CHUNK)):
            line = self._lines.popleft()
            if line == NEXT_FILE:
                break
            chunk.append(f"{line}\n")
        self._put("".join(chunk))
        self._has_failed = False
        if line == NEXT_FILE:
            self._open(follows=True)

    def _put(self, text: str) -> None:
        assert self._file is not None
        data = memoryview(text.encode())
        while data:
            data = data[self._file.write(data) :]

    def _open(self, *, follows: bool) -> None:
        """Go on in the next file, and remove the oldest ones.

        Args:
            follows: Whether the steps follow those of the last file, without a gap.
        """
        self._leave_file()
        process = os.getpid()
        numbers = [part.number for part in parts_of(self._path) if part.process == process]
        number = max(numbers, default=0) + 1
        self._file = FileIO(f"{self._path}-{process}-{number}", "x")
        for old in numbers:
            if old <= number - self._keep:
                with suppress(OSError):
                    Path(f"{self._path}-{process}-{old}").unlink()
        self._files += 1
        head = {
            "trace": VERSION,
            "run": self._run,
            "process": process,
            "file": self._files,
            "follows": follows,
            "time": time.time(),
            "monotonic": time.monotonic(),
        }
        self._put(json.dumps(head) + "\n")

    def _leave_file(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _fail(self, error: Exception) -> None:
        """Drop all lines, and warn unless the last warning is still true."""
        self._is_recording = False
        self._lines.clear()
        if not self._has_failed:
            self._has_failed = True
            self._warn(error)

    def _try_again(self) -> None:
        """Go on in a new file, in which each pool writes its state first."""
        self._lines.clear()
        with suppress(OSError):
            self._open(follows=False)
            self._has_too_many = False
            self._size = 0
            self._begin_part()
            self._is_recording = True

    def _warn(self, error: Exception) -> None:
        log(logging.WARNING, STOPPED, self._path, described(error), PAUSE)

    def restart(self) -> None:
        """Begin to record in a forked child. The lines and the file belong to its parent."""
        with suppress(OSError):
            self._leave_file()
        self._begin()


class Part(NamedTuple):
    """One file of a trace."""

    process: int
    number: int
    file: Path


def parts_of(path: Path) -> list[Part]:
    """List the files of a trace, in the order in which each process wrote them."""
    name = re.compile(re.escape(path.name) + r"-([0-9]{1,18})-([0-9]{1,18})")
    found = ((name.fullmatch(file.name), file) for file in path.parent.iterdir())
    return sorted(Part(int(match[1]), int(match[2]), file) for match, file in found if match)


_writers: weakref.WeakSet[TraceWriter] = weakref.WeakSet()


def _restart_after_fork() -> None:
    for writer in _writers:
        writer.restart()


# Some systems have no fork.
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_restart_after_fork)
