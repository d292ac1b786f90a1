"""A process that computes. It answers one line of JSON with another."""

from __future__ import annotations

import json
import os
import sys
import time
from operator import truediv
from queue import SimpleQueue
from threading import Thread


def work() -> None:
    """Answer line by line. End with the input, also in the middle of a computation."""
    functions = {"pow": pow, "divide": truediv, "sleep": time.sleep, "die": os._exit}
    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        os._exit(0)

    Thread(target=read, daemon=True).start()
    while True:
        name, *arguments = json.loads(lines.get())
        try:
            answer = [functions[name](*arguments), None]  # type: ignore[operator]
        except Exception as error:
            answer = [None, f"{type(error).__name__}: {error}"]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    work()
