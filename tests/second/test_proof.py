"""The proof of the counting rules for every size: it holds, and it can fail."""

from __future__ import annotations

from typing import Any

import pytest

from proofs.second_broken import BROKEN_RULES
from proofs.second_proof import prove
from tests.inside import second_counts

pytestmark = pytest.mark.untraced
Event = second_counts.Event


@pytest.mark.parametrize("event", [Event.LEAVE, Event.RETURN, Event.CLOSER_ENDED])
def test_an_event_keeps_every_rule(event: Any) -> None:
    # `python -m proofs.second_proof` proves all events.
    result = prove(event)
    assert result.problem == ""
    assert result.reached
    assert result.paths > 100


@pytest.mark.parametrize(("event", "transition", "rule"), BROKEN_RULES)
def test_a_transition_with_a_bug_is_refuted(event: Any, transition: Any, rule: str) -> None:
    assert prove(event, transition).problem.startswith(f"{event.value} breaks {rule}")
