"""Recordings of a pool's run: record a run, open it in a trace viewer, draw it.

    timeline = Timeline("bank")
    pool = AsyncResourcePool(connect, disconnect, listener=timeline)
    ...
    timeline.save("bank.json")

``bank.json`` opens in any viewer of Chrome traces, such as Perfetto. The command

    python -m nodetool.concurrency.timeline bank.json

draws the file as ``bank.svg``: which task held which resource, which task waited for it, and why
each resource was closed.
"""

from nodetool.concurrency.listener import PoolEvent as PoolEvent  # Recording names it

from ._drawing import draw
from ._recording import Recording, RecordingError, Timeline, load
from ._spans import RecordedError

__all__ = ["RecordedError", "Recording", "RecordingError", "Timeline", "draw", "load"]

for _public in (RecordedError, Recording, RecordingError, Timeline, draw, load):
    _public.__module__ = __name__  # users must see no private module
