"""The files of a trace."""

from __future__ import annotations

from pathlib import Path


def files(path: Path) -> list[Path]:
    """List the files of a trace in the order in which they were made."""
    found = path.parent.glob(f"{path.name}-*")
    return sorted(found, key=lambda file: int(file.name.rpartition("-")[2]))
