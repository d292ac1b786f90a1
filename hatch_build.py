"""The long description and the addresses of the package, for the build.

A package index shows README.md without the files of the project. So each relative link must become
absolute there. `pyproject.toml` has the only address of the project, in the table
``tool.hatch.metadata.hooks.custom``. While the address is empty, the links stay as they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

__all__ = ["AddressHook", "with_absolute_links"]

LINK = re.compile(r"(!\[[^][]*)?\]\((?!https?:|mailto:|#)([^)\s]+)\)")
URL_PARTS = {"pictures": "raw", "folders": "tree", "files": "blob"}
"""The parts of an address that a host such as GitHub has for each kind of target."""


def with_absolute_links(text: str, address: str, version: str, root: Path) -> str:
    """Return a page of `root` whose links lead to the same version of the project."""

    def absolute(found: re.Match[str]) -> str:
        picture, target = found.groups(default="")
        is_folder = (root / target.partition("#")[0]).is_dir()
        kind = "pictures" if picture else "folders" if is_folder else "files"
        return f"{picture}]({address}/{URL_PARTS[kind]}/v{version}/{target})"

    return LINK.sub(absolute, text)


class AddressHook(MetadataHookInterface):
    """The fields of the metadata that depend on the address."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the long description and the addresses. The build calls this."""
        root, address = Path(self.root), self.config["address"].rstrip("/")
        text = (root / "README.md").read_text(encoding="utf-8")
        metadata["urls"] = {}
        if address:
            text = with_absolute_links(text, address, metadata["version"], root)
            pages = f"{address}/blob/v{metadata['version']}"
            metadata["urls"] = {
                "Source": address,
                "Issues": f"{address}/issues",
                "Documentation": f"{pages}/docs/index.md",
                "Changelog": f"{pages}/CHANGELOG.md",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
