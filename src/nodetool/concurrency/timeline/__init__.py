"""What a pool did, seen: record a run, open it in a trace viewer, draw it.

    timeline = Timeline("bank")
    pool = AsyncResourcePool(connect, disconnect, listener=timeline)
    ...
    timeline.save("bank.json")

``bank.json`` opens in any viewer of Chrome traces, such as Perfetto, and

    python -m nodetool.concurrency.timeline bank.json

draws it as ``bank.svg``: who held which resource, who waited for it, and why each was closed.
"""

from ._drawing import draw
from ._recording import Recording, RecordingError, Timeline, load
from ._spans import RecordedError

__all__ = ["RecordedError", "Recording", "RecordingError", "Timeline", "draw", "load"]
