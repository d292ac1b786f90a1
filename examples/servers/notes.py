"""An MCP server that keeps notes. A client starts it as a process, and speaks to it over stdio."""

from __future__ import annotations

import os


def serve() -> None:
    """Serve until the input ends."""
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    server = MCPServer("notes", log_level="CRITICAL")
    words: list[str] = []

    @server.tool()
    def note(word: str) -> list[str]:
        words.append(word)
        return words

    @server.tool()
    def erase(word: str) -> None:
        if word not in words:
            raise ToolError("no such note")
        words.remove(word)

    @server.tool()
    def forget() -> None:
        words.clear()

    @server.tool()
    def die() -> None:
        os._exit(1)

    server.run("stdio")


if __name__ == "__main__":
    serve()
