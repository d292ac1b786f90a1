"""Read TLC's configuration files and the text of modules."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from nodetool.concurrency.verify._values import Constants, constants_from

__all__ = ["ModelConfig", "source_digest"]


@dataclass(frozen=True)
class ModelConfig:
    """A configuration file of TLC, in the layout of this project."""

    text: str

    @classmethod
    def read(cls, path: Path) -> "ModelConfig":
        """Read a configuration file."""
        return cls(path.read_text(encoding="utf-8"))

    def section(self, name: str) -> list[str]:
        """Return the indented lines under a heading."""
        match = re.search(rf"^{name}\n((?:[ \t]+.*\n?)+)", self.text, re.MULTILINE)
        return [line.strip() for line in match[1].splitlines()] if match else []

    @property
    def constants(self) -> Constants:
        """The constants and their values."""
        return constants_from([line for line in self.section("CONSTANTS") if "<-" not in line])

    @property
    def invariants(self) -> tuple[str, ...]:
        """Names of the invariants."""
        return tuple(self.section("INVARIANTS"))

    @property
    def properties(self) -> tuple[str, ...]:
        """Names of the temporal properties."""
        return tuple(self.section("PROPERTIES"))

    def without_properties(self) -> "ModelConfig":
        """Return a copy without the temporal properties."""
        text = re.sub(r"^PROPERTIES\n(?:[ \t]+.*\n?)+", "", self.text, flags=re.MULTILINE)
        return ModelConfig(text)


_COMMENT = re.compile(r"\(\*.*?\*\)|\\\*[^\n]*", re.DOTALL)
_USES = re.compile(r"\b(?:EXTENDS|INSTANCE)\s+(\w+(?:\s*,\s*\w+)*)")


def source_digest(folder: Path, module: str) -> str:
    """Return a digest of a module and of all modules that it uses, without comments."""
    todo, texts = [module], dict[str, str]()
    while todo:
        name = todo.pop()
        path = folder / f"{name}.tla"
        if name not in texts and path.exists():
            lines = _COMMENT.sub("", path.read_text(encoding="utf-8")).splitlines()
            texts[name] = "\n".join(line.rstrip() for line in lines if line.strip())
            todo += re.split(r"\s*,\s*", ",".join(_USES.findall(texts[name])))
    return hashlib.sha256("\n".join(texts[name] for name in sorted(texts)).encode()).hexdigest()
