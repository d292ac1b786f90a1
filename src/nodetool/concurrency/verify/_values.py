"""Values and constants in the syntax of TLA+ and of TLC's configuration files."""

import re
from collections.abc import Iterator
from functools import lru_cache

__all__ = ["Constants", "constants_from", "format_value", "parse_value"]

Constants = dict[str, object]

_TOKEN = re.compile(r'\s*(<<|>>|\|->|[{}\[\],]|-?\d+|\w+|"[^"\\]*")')
_CLOSING = {"<<": ">>", "{": "}", "[": "]"}


def _tokens(text: str) -> Iterator[str]:
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"not a TLA+ value: {text!r}")
        yield match[1]
        position = match.end()


def _parse(tokens: list[str]) -> object:
    """Parse one value. The tokens are a stack, so the next token is the last one."""
    token = tokens.pop()
    if token in _CLOSING:
        items: list[object] = []
        while tokens[-1] != _CLOSING[token]:
            if items and tokens.pop() != ",":
                raise ValueError("a comma is missing")
            if token == "[":
                name = tokens.pop()
                if tokens.pop() != "|->":
                    raise ValueError("|-> is missing")
                items.append((name, _parse(tokens)))
            else:
                items.append(_parse(tokens))
        tokens.pop()
        if token == "<<":
            return tuple(items)
        return frozenset(items) if token == "{" else tuple(sorted(items, key=repr))
    if token in ("TRUE", "FALSE"):
        return token == "TRUE"
    if token.startswith('"'):
        return token[1:-1]
    return int(token)


@lru_cache(maxsize=4096)
def parse_value(text: str) -> object:
    """Parse an integer, a boolean, a string, a tuple, a set or a record.

    A record becomes a tuple of names with their values, sorted by name.
    """
    tokens = list(_tokens(text))[::-1]
    try:
        value = _parse(tokens)
    except (IndexError, ValueError) as error:
        raise ValueError(f"not a TLA+ value: {text!r}") from error
    if tokens:
        raise ValueError(f"not one TLA+ value: {text!r}")
    return value


def format_value(value: object) -> str:
    """Write a constant of a model. A tuple is written as the set that it was read from."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, tuple):
        return "{" + ", ".join(format_value(item) for item in value) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def constants_from(lines: list[str]) -> Constants:
    """Read lines like ``MaxSize = 2``. A set becomes a sorted tuple."""
    constants: Constants = {}
    for line in lines:
        name, equals, text = line.partition("=")
        if not equals:
            raise ValueError(f"not a constant: {line!r}")
        value = parse_value(text.strip())
        constants[name.strip()] = (
            tuple(sorted(value, key=repr)) if isinstance(value, frozenset) else value
        )
    return constants
