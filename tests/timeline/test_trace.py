"""The trace says what was told, in the way that viewers of traces want it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from nodetool.concurrency import PoolEvent
from nodetool.concurrency.timeline._trace import trace_events
from tests.timeline.streams import ModelPool, any_events, examples, model_pools

Event = dict[str, Any]


def trace(events: list[PoolEvent]) -> list[Event]:
    return trace_events("bank", events, 0)


def of(events: list[Event], *phases: str) -> list[Event]:
    return [event for event in events if event["ph"] in phases]


def micro(seconds: float) -> int:
    return round(seconds * 1_000_000)


def counted(events: list[Event], counter: str, state: str, at: int) -> int:
    """What a counter of the trace says of a moment."""
    told = [event for event in of(events, "C") if event["name"] == counter]
    position = bisect_right([event["ts"] for event in told], at)
    return int(told[position - 1]["args"][state]) if position else 0


@examples(35)
@given(any_events)
def test_a_trace_of_any_events_is_shown_as_a_whole(events: list[PoolEvent]) -> None:
    found = trace(events)
    for event in found:
        for number in ("ts", "dur", "tid", "pid", "id"):
            assert type(event.get(number, 0)) is int
        assert event.get("dur", 0) >= 0
        assert event["name"]
        assert event.get("tid") != event["pid"]
    assert len({event["pid"] for event in found}) == 1
    timed = [event for event in found if event["ph"] != "M"]
    assert [event["ts"] for event in timed] == sorted(event["ts"] for event in timed)

    tracks: dict[int, list[Event]] = {}
    for event in of(found, "X"):
        tracks.setdefault(event["tid"], []).append(event)
    for slices in tracks.values():
        for before, after in pairwise(slices):
            assert before["ts"] + before["dur"] <= after["ts"]
    named = [event["tid"] for event in of(found, "M") if event["name"] == "thread_name"]
    assert sorted(named) == sorted(tracks)


@examples(35)
@given(any_events)
def test_each_arrow_goes_from_one_wait_to_one_lease(events: list[PoolEvent]) -> None:
    # A viewer reads the list from the top, and joins an arrow's end to the slice read last on
    # its track.
    last: dict[int, Event] = {}
    started: dict[int, Event] = {}
    ended: set[int] = set()
    for event in trace(events):
        if event["ph"] == "X":
            last[event["tid"]] = event
        elif event["ph"] in ("s", "f"):
            there = last[event["tid"]]
            assert there["ts"] <= event["ts"] <= there["ts"] + there["dur"]
            if event["ph"] == "s":
                assert there["cat"] == "wait"
                assert event["ts"] < there["ts"] + there["dur"]
                assert event["id"] not in started
                started[event["id"]] = event
            else:
                assert event["bp"] == "e"
                assert there["cat"] == "use"
                assert event["ts"] == there["ts"] >= started[event["id"]]["ts"]
                assert event["id"] not in ended
                ended.add(event["id"])
    assert ended == set(started)


@examples(35)
@given(any_events)
def test_each_event_is_one_slice_but_for_acquires_that_took_no_time(
    events: list[PoolEvent],
) -> None:
    told = Counter(
        (event.kind, micro(event.start), event.outcome, event.task)
        for event in events
        if event.kind != "wait" or event.resource is None or micro(event.start) < micro(event.end)
    )
    found = Counter(
        (event["cat"], event["ts"], event["args"]["outcome"], event["args"].get("task", ""))
        for event in of(trace(events), "X")
        if event["args"]["outcome"] != "still held"
    )
    assert found == told


@examples(25)
@given(any_events)
def test_no_counter_of_any_trace_is_below_zero(events: list[PoolEvent]) -> None:
    assert all(min(event["args"].values()) >= 0 for event in of(trace(events), "C"))


@examples(60)
@given(model_pools())
def test_the_counters_say_what_was_so(pool: ModelPool) -> None:
    found = trace(pool.events)
    for moment, numbers in pool.counts.items():
        for state, number in numbers.items():
            counter = "acquirers" if state == "waiting" else "resources"
            assert counted(found, counter, state, micro(moment)) == number, (state, moment)


@examples(60)
@given(model_pools())
def test_each_wait_that_lasted_has_its_arrow(pool: ModelPool) -> None:
    found = trace(pool.events)
    waits = {event["id"]: event for event in of(found, "s")}
    slices = {(e["tid"], e["ts"], e["dur"], e["name"]) for e in of(found, "X")}
    arrows = Counter(
        (event["tid"], waits[event["id"]]["ts"] + 1, event["ts"]) for event in of(found, "f")
    )
    expected: Counter[tuple[object, ...]] = Counter()
    for wait, end in pool.arrows:
        start = micro(wait.end)
        expected[wait.resource, start, start] += 1
        assert (wait.resource, start, micro(end) - start, wait.task) in slices
    assert arrows == expected


@examples(60)
@given(model_pools())
def test_waits_take_as_few_tracks_as_there_were_waiters_at_once(pool: ModelPool) -> None:
    named = [e for e in of(trace(pool.events), "M") if e["name"] == "thread_name"]
    tracks = sum(event["args"]["name"].startswith("waiting") for event in named)
    most = 0
    waits = [event for event in pool.events if event.kind == "wait"]
    lasting = [(micro(wait.start), micro(wait.end)) for wait in waits if wait.end > wait.start]
    for moment, _ in lasting:
        most = max(most, sum(start <= moment < end for start, end in lasting))
    nothing = any(wait.resource is None and wait.end == wait.start for wait in waits)
    assert most <= tracks <= most + nothing


def test_slices_are_named_by_task_and_by_reason() -> None:
    found = trace(
        [
            PoolEvent("creation", 3, 1.0, 2.0, "created", "", None),
            PoolEvent("wait", 3, 1.0, 2.0, "acquired", "Task-7", None),
            PoolEvent("use", 3, 2.0, 3.0, "released", "Task-7", None),
            PoolEvent("close", 3, 3.0, 4.0, "expired", "", None),
            PoolEvent("wait", None, 3.0, 4.0, "failed", "", OSError("refused")),
        ]
    )
    names = {(event["cat"], event["name"], event["tid"]) for event in of(found, "X")}
    assert names == {
        ("creation", "create", 3),
        ("use", "Task-7", 3),
        ("close", "expired", 3),
        ("wait", "Task-7", 4),
        ("wait", "?", 4),
    }
    [failed] = [event for event in of(found, "X") if event["args"]["outcome"] == "failed"]
    assert failed["args"] == {"outcome": "failed", "error": "OSError: refused"}
    tracks = {e["tid"]: e["args"]["name"] for e in of(found, "M") if e["name"] == "thread_name"}
    assert tracks == {3: "resource 3", 4: "waiting 1"}
    assert found[0]["args"] == {"name": "pool 'bank'"}


def test_an_acquire_that_is_turned_away_at_once_is_shown() -> None:
    full = ValueError("full")
    found = trace([PoolEvent("wait", None, 1.0, 1.0, "rejected", "Task-1", full)])
    [shown] = of(found, "X")
    assert (shown["name"], shown["dur"], shown["args"]["outcome"]) == ("Task-1", 0, "rejected")


def test_an_arrow_never_goes_back_in_time() -> None:
    wait = PoolEvent("wait", 1, 1.0, 2.0, "acquired", "Task-1", None)
    early = PoolEvent("use", 1, 1.5, 3.0, "released", "Task-1", None)
    found = trace([wait, early])
    assert [event["ts"] for event in of(found, "s", "f")] == [1_500_000, 1_500_000]
    assert [event["ph"] for event in of(found, "s", "f")] == ["s", "f"]
    assert of(trace([wait, early._replace(start=0.5)]), "s", "f") == []


def test_a_counter_tells_only_what_has_changed() -> None:
    before: dict[str, object] = {}
    for event in of(trace(ModelPool(7, 6, 3, 4).events), "C"):
        assert event["args"] != before.get(event["name"])
        before[event["name"]] = event["args"]


def test_what_overlaps_by_the_clocks_jitter_ends_where_the_next_begins() -> None:
    found = trace(
        [
            PoolEvent("use", 1, 1.0, 2.000002, "discarded", "Task-7", None),
            PoolEvent("close", 1, 2.0, 2.5, "discarded", "", None),
        ]
    )
    use, close = of(found, "X")
    assert (use["ts"], use["dur"]) == (1_000_000, 1_000_000)
    assert (close["ts"], close["dur"]) == (2_000_000, 500_000)


def test_what_was_not_given_back_is_held_until_the_end() -> None:
    found = trace(
        [
            PoolEvent("wait", 1, 1.0, 1.0, "acquired", "Task-1", None),
            PoolEvent("wait", 2, 1.0, 1.5, "acquired", "Task-2", None),
            PoolEvent("use", 1, 1.0, 4.0, "released", "Task-1", None),
        ]
    )
    [held] = [event for event in of(found, "X") if event["args"]["outcome"] == "still held"]
    assert (held["name"], held["tid"]) == ("Task-2", 2)
    assert (held["ts"], held["dur"]) == (1_500_000, 2_500_000)
    assert len(of(found, "s")) == len(of(found, "f")) == 1
    assert counted(found, "resources", "in use", 4_000_000) == 1


@pytest.mark.parametrize("outcome", ["detached", "forgotten", "discarded"])
def test_what_has_left_is_not_counted_any_more(outcome: str) -> None:
    found = trace(
        [
            PoolEvent("use", 1, 1.0, 2.0, outcome, "Task-1", None),
            PoolEvent("use", 2, 1.0, 3.0, "released", "Task-2", None),
        ]
    )
    assert counted(found, "resources", "in use", 1_500_000) == 2
    assert counted(found, "resources", "in use", 2_500_000) == 1
    assert counted(found, "resources", "idle", 2_500_000) == 0
    assert counted(found, "resources", "idle", 3_000_000) == 1


def test_nothing_makes_a_trace_too() -> None:
    assert of(trace([]), "X", "s", "f") == []
