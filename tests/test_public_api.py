"""The public API does not change by accident."""

from __future__ import annotations

from tests.public_api import FILE, describe


def test_the_public_api_is_that_of_the_snapshot() -> None:
    found = "\n".join(describe()) + "\n"
    assert found == FILE.read_text(), "run `python -m tests.public_api` if the change is intended"
