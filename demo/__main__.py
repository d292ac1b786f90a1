"""The command. Ctrl-C ends it quietly from here on, before the run can handle it and after."""

import signal
import sys


def leave(*_: object) -> None:
    """What Ctrl-C does until the run takes over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("Interrupted: nothing was opened")
    sys.exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, leave)
    from .run import run

    code = run()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Python would restore what kills it
    sys.exit(code)
