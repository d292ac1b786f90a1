"""The command, and what is left to do when Ctrl-C comes before its event loop runs, or after."""

import signal
import sys


def main() -> int:
    """Run the command; nothing is open before its event loop runs, and nothing after."""
    try:
        from .run import run

        return run()
    except KeyboardInterrupt:
        print("\nInterrupted: nothing is open")
        return 130


if __name__ == "__main__":
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the interpreter is about to exit anyway
    sys.exit(code)
