"""The trace has every event, in a form that viewers of traces can show."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given

from nodetool.concurrency import PoolEvent
from tests.timeline.streams import ModelPool, any_events, examples, model_pools
from tests.timeline.traces import Counters, Event, micro, trace, with_phase


@examples(35)
@given(any_events)
def test_a_trace_of_any_events_has_no_overlapping_slices(events: list[PoolEvent]) -> None:
    found = trace(events)
    for event in found:
        for number in ("ts", "dur", "tid", "pid", "id"):
            assert type(event.get(number, 0)) is int
        assert event.get("dur", 0) >= 0
        assert event["name"]
        assert event.get("tid") != event["pid"]
    assert len({event["pid"] for event in found}) == 1
    times = [event["ts"] for event in found if event["ph"] != "M"]
    assert times == sorted(times)

    tracks: dict[int, list[Event]] = {}
    for event in with_phase(found, "X"):
        tracks.setdefault(event["tid"], []).append(event)
    for slices in tracks.values():
        for before, after in pairwise(slices):
            assert before["ts"] + before["dur"] <= after["ts"]
    tracks_with_names = [
        event["tid"] for event in with_phase(found, "M") if event["name"] == "thread_name"
    ]
    assert sorted(tracks_with_names) == sorted(tracks)


@examples(35)
@given(any_events)
def test_each_arrow_goes_from_one_wait_to_one_lease(events: list[PoolEvent]) -> None:
    # A viewer reads the list from the top. It joins an arrow's end to the latest slice on the
    # arrow's track.
    last: dict[int, Event] = {}
    starts: dict[int, Event] = {}
    ends: set[int] = set()
    for event in trace(events):
        if event["ph"] == "X":
            last[event["tid"]] = event
        elif event["ph"] in ("s", "f"):
            current = last[event["tid"]]
            assert current["ts"] <= event["ts"] <= current["ts"] + current["dur"]
            if event["ph"] == "s":
                assert current["cat"] == "wait"
                assert event["ts"] < current["ts"] + current["dur"]
                assert event["id"] not in starts
                starts[event["id"]] = event
            else:
                assert event["bp"] == "e"
                assert current["cat"] == "use"
                assert event["ts"] == current["ts"] >= starts[event["id"]]["ts"]
                assert event["id"] not in ends
                ends.add(event["id"])
    assert ends == set(starts)


@examples(35)
@given(any_events)
def test_each_event_is_one_slice_except_acquires_that_took_no_time(
    events: list[PoolEvent],
) -> None:
    expected = Counter(
        (event.kind, micro(event.start), event.outcome, event.task)
        for event in events
        if event.kind != "wait" or event.resource is None or micro(event.start) < micro(event.end)
    )
    found = Counter(
        (event["cat"], event["ts"], event["args"]["outcome"], event["args"].get("task", ""))
        for event in with_phase(trace(events), "X")
        if event["args"]["outcome"] != "still held"
    )
    assert found == expected


@examples(25)
@given(any_events)
def test_no_counter_is_ever_negative(events: list[PoolEvent]) -> None:
    assert all(min(event["args"].values()) >= 0 for event in with_phase(trace(events), "C"))


@examples(60)
@given(model_pools())
def test_the_counters_are_the_counts_of_the_pool(pool: ModelPool) -> None:
    counters = Counters(trace(pool.events))
    for moment, counts in pool.counts.items():
        for state, count in counts.items():
            assert counters.value(state, micro(moment)) == count, (state, moment)


@examples(60)
@given(model_pools())
def test_each_wait_that_took_time_has_an_arrow_to_its_lease(pool: ModelPool) -> None:
    found = trace(pool.events)
    waits = {event["id"]: event for event in with_phase(found, "s")}
    slices = {(e["tid"], e["ts"], e["dur"], e["name"]) for e in with_phase(found, "X")}
    arrows = Counter(
        (event["tid"], waits[event["id"]]["ts"] + 1, event["ts"])
        for event in with_phase(found, "f")
    )
    expected: Counter[tuple[object, ...]] = Counter()
    for wait, end in pool.arrows:
        start = micro(wait.end)
        expected[wait.resource, start, start] += 1
        assert (wait.resource, start, micro(end) - start, wait.task) in slices
    assert arrows == expected


@examples(60)
@given(model_pools())
def test_waits_need_as_many_tracks_as_acquirers_waited_at_once(pool: ModelPool) -> None:
    names = [e for e in with_phase(trace(pool.events), "M") if e["name"] == "thread_name"]
    tracks = sum(event["args"]["name"].startswith("waiting") for event in names)
    most = 0
    waits = [event for event in pool.events if event.kind == "wait"]
    periods = [(micro(wait.start), micro(wait.end)) for wait in waits if wait.end > wait.start]
    for moment, _ in periods:
        most = max(most, sum(start <= moment < end for start, end in periods))
    refused = any(wait.resource is None and wait.end == wait.start for wait in waits)
    assert most <= tracks <= most + refused


def test_slices_have_the_names_of_tasks_and_reasons() -> None:
    found = trace(
        [
            PoolEvent("creation", 3, 1.0, 2.0, "created", "", None),
            PoolEvent("wait", 3, 1.0, 2.0, "acquired", "Task-7", None),
            PoolEvent("use", 3, 2.0, 3.0, "released", "Task-7", None),
            PoolEvent("reset", 3, 3.0, 3.1, "passed", "", None),
            PoolEvent("check", 3, 3.2, 3.3, "passed", "", None),
            PoolEvent("close", 3, 3.3, 4.0, "expired", "", None),
            PoolEvent("wait", None, 3.0, 4.0, "failed", "", OSError("refused")),
        ]
    )
    names = {(event["cat"], event["name"], event["tid"]) for event in with_phase(found, "X")}
    assert names == {
        ("creation", "create", 3),
        ("use", "Task-7", 3),
        ("reset", "reset", 3),
        ("check", "check", 3),
        ("close", "expired", 3),
        ("wait", "Task-7", 4),
        ("wait", "?", 4),
    }
    [failed] = [event for event in with_phase(found, "X") if event["args"]["outcome"] == "failed"]
    assert failed["args"] == {"outcome": "failed", "error": "OSError: refused"}
    tracks = {
        e["tid"]: e["args"]["name"] for e in with_phase(found, "M") if e["name"] == "thread_name"
    }
    assert tracks == {3: "resource 3", 4: "waiting 1"}
    assert found[0]["args"] == {"name": "pool 'bank'"}


def test_a_rejected_acquire_is_a_slice_without_a_duration() -> None:
    full = ValueError("full")
    found = trace([PoolEvent("wait", None, 1.0, 1.0, "rejected", "Task-1", full)])
    [rejection] = with_phase(found, "X")
    assert (rejection["name"], rejection["dur"], rejection["args"]["outcome"]) == (
        "Task-1",
        0,
        "rejected",
    )


def test_an_arrow_never_leads_back_in_time() -> None:
    wait = PoolEvent("wait", 1, 1.0, 2.0, "acquired", "Task-1", None)
    early = PoolEvent("use", 1, 1.5, 3.0, "released", "Task-1", None)
    found = trace([wait, early])
    assert [event["ts"] for event in with_phase(found, "s", "f")] == [1_500_000, 1_500_000]
    assert [event["ph"] for event in with_phase(found, "s", "f")] == ["s", "f"]
    assert with_phase(trace([wait, early._replace(start=0.5)]), "s", "f") == []


def test_a_counter_has_a_sample_only_if_a_value_changed() -> None:
    before: dict[str, object] = {}
    for event in with_phase(trace(ModelPool(7, 6, 3, 4).events), "C"):
        assert event["args"] != before.get(event["name"])
        before[event["name"]] = event["args"]


def test_a_slice_that_overlaps_with_the_next_one_ends_where_that_one_starts() -> None:
    found = trace(
        [
            PoolEvent("use", 1, 1.0, 2.000002, "discarded", "Task-7", None),
            PoolEvent("close", 1, 2.0, 2.5, "discarded", "", None),
        ]
    )
    use, close = with_phase(found, "X")
    assert (use["ts"], use["dur"]) == (1_000_000, 1_000_000)
    assert (close["ts"], close["dur"]) == (2_000_000, 500_000)


def test_a_resource_that_was_not_released_is_held_until_the_end() -> None:
    found = trace(
        [
            PoolEvent("wait", 1, 1.0, 1.0, "acquired", "Task-1", None),
            PoolEvent("wait", 2, 1.0, 1.5, "acquired", "Task-2", None),
            PoolEvent("use", 1, 1.0, 4.0, "released", "Task-1", None),
        ]
    )
    [held] = [event for event in with_phase(found, "X") if event["args"]["outcome"] == "still held"]
    assert (held["name"], held["tid"]) == ("Task-2", 2)
    assert (held["ts"], held["dur"]) == (1_500_000, 2_500_000)
    assert len(with_phase(found, "s")) == len(with_phase(found, "f")) == 1
    assert Counters(found).value("in use", 4_000_000) == 1


@pytest.mark.parametrize("outcome", ["detached", "forgotten", "discarded"])
def test_a_resource_that_left_the_pool_is_not_counted(outcome: str) -> None:
    counters = Counters(
        trace(
            [
                PoolEvent("use", 1, 1.0, 2.0, outcome, "Task-1", None),
                PoolEvent("use", 2, 1.0, 3.0, "released", "Task-2", None),
            ]
        )
    )
    assert counters.value("in use", 1_500_000) == 2
    assert counters.value("in use", 2_500_000) == 1
    assert counters.value("idle", 2_500_000) == 0
    assert counters.value("idle", 3_000_000) == 1


def test_an_empty_recording_has_a_trace() -> None:
    assert with_phase(trace([]), "X", "s", "f") == []
