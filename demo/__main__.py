"""The command. Ctrl-C ends it quietly, even before and after the run handles the signal."""

import signal
import sys


def leave(*_: object) -> None:
    """Handle Ctrl-C until the run takes over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("Interrupted: nothing was opened")
    sys.exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, leave)
    from .run import run

    code = run()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # otherwise Python restores the default, which kills the process
    sys.exit(code)
