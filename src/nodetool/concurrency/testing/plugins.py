"""Plug-ins for the explorer: checks and fingerprints for classes that it does not know.

A plug-in is needed for two things:

* An object needs checks of its own: write a `Monitor`, and pass it to `Events.add_monitor`.
* Equal states of an object look different: write a `Plugin`, and `register` it. This happens if the
  object has a dict keyed by ``id(...)``, counts in a global, or reads the real time.

``nodetool.concurrency.verify.schedules`` is such a plug-in, for `AsyncResourcePool`.
"""

from ._parts import attributes_except
from ._registry import Monitor, Plugin, Reducer, register

__all__ = ["Monitor", "Plugin", "Reducer", "attributes_except", "register"]

for _public in (Monitor, Plugin, attributes_except, register):
    _public.__module__ = __name__  # users must see no private module
