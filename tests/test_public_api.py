"""The public API does not change by accident."""

from __future__ import annotations

from tests.public_api import FILE, describe


def test_the_public_api_is_that_of_the_snapshot() -> None:
    assert [*describe()] == FILE.read_text().splitlines(), "update it: python -m tests.public_api"
