"""The public API as text: names, signatures, docstring sections."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODULES = (
    "nodetool.concurrency",
    "nodetool.concurrency.async_resource_pool",
    "nodetool.concurrency.otel",
    "nodetool.concurrency.testing",
    "nodetool.concurrency.timeline",
    "nodetool.concurrency.trace",
)
FILE = Path(__file__).with_name("public_api.txt")
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
SECTION = re.compile(r"^ *(Args|Raises|Returns|Cancellation|Spec):$", re.MULTILINE)
SINCE = re.compile(r"^(Since version [\d.]*\d)\.$", re.MULTILINE)


def sections(subject: Any) -> str:
    """List the sections of a docstring, and the version that it names."""
    doc = inspect.getdoc(subject) or ""
    found = SECTION.findall(doc) + SINCE.findall(doc)
    return f" [{', '.join(found)}]" if found else ""


def signature(function: Any) -> str:
    """Return a function's signature, in which a function as default has no address."""
    return ADDRESS.sub("", str(inspect.signature(function)))


def members(name: str, kind: type) -> Iterator[str]:
    """Describe the public members of a class that the package defines."""
    for attribute in sorted(dir(kind)):
        owner = next((c for c in kind.__mro__ if attribute in vars(c)), object)
        own = owner.__module__.startswith("nodetool")
        named = not attribute.startswith("_") or attribute in ("__init__", "__aenter__")
        if not (own and named):
            continue
        value = inspect.getattr_static(kind, attribute)
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if inspect.isfunction(function):
            how = "async def" if inspect.iscoroutinefunction(function) else "def"
            yield f"  {how} {name}.{attribute}{signature(function)}{sections(function)}"
        else:
            since = sections(value) if isinstance(value, property) else ""
            yield f"  {name}.{attribute}: {type(value).__name__}{since}"


def describe() -> Iterator[str]:
    """Describe the public API, one line a name."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        yield module_name
        for name in sorted(module.__all__):
            value = getattr(module, name)
            if inspect.isclass(value):
                bases = ", ".join(base.__name__ for base in value.__bases__)
                yield f" class {name}({bases}){sections(value)}"
                yield from members(name, value)
            elif inspect.isfunction(value):
                yield f" def {name}{signature(value)}{sections(value)}"
            else:
                kind = type(value).__name__.removesuffix("Type")  # UnionType is Union in 3.14
                yield f" {name}: {kind}"


if __name__ == "__main__":
    FILE.write_text("\n".join(describe()) + "\n")
