"""The picture shows what was told, can be read, and is the same every time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodetool.concurrency import PoolEvent
from nodetool.concurrency.timeline import Recording, Timeline, draw
from nodetool.concurrency.timeline._svg import FILLS, width_of
from tests.timeline.pictures import RUN, SVG, Picture, pictured, told, waiting
from tests.timeline.streams import ModelPool, any_events, examples, model_pools

ANCHORS = {"start": 0.0, "middle": 0.5, "end": 1.0}


@examples(35)
@given(any_events, st.sampled_from([400, 1200, 3000]), st.integers(1, 5), st.integers(0, 3))
def test_any_recording_makes_a_picture_within_its_frame(
    events: list[PoolEvent], width: int, rows: int, part: int
) -> None:
    first = min((event.start for event in events), default=0.0)
    length = max((event.end for event in events), default=0.0) - first
    options: dict[str, Any] = {"width": width, "rows": rows}
    if part and length > 1e-5:  # some of it, else all
        options |= {"start": length * (part - 1) / 4, "end": length * part / 4}
    text = draw(Recording("any", events, 0), **options)
    assert text == draw(Recording("any", list(events), 0), **options)
    picture = Picture(text)
    assert picture.size[0] == width
    for bar in picture.bars:
        assert 0 <= bar.x <= bar.right <= width
        assert 0 <= bar.y <= bar.bottom <= picture.size[1]
    for path in picture.root.iter(f"{SVG}path"):
        if "l-" not in path.attrib["d"]:
            steps = [float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"])]
            assert min(steps) >= 0
            assert max(steps[::2]) <= width


@examples(35)
@given(model_pools())
def test_what_is_written_above_a_row_never_overlaps(pool: ModelPool) -> None:
    picture = pictured(pool.events, width=400)
    last: dict[str, tuple[float, str]] = {}
    for text in picture.root.iter(f"{SVG}text"):
        look, x, y = (text.attrib[name] for name in ("class", "x", "y"))
        if float(x) >= 112 and look.endswith(" small") and not look.startswith("ink"):
            wide = width_of(text.text or "", 10)
            start = float(x) - wide * ANCHORS[text.attrib.get("text-anchor", "start")]
            end, before = last.get(y, (0.0, ""))
            if before and not before.endswith(" ms"):
                assert start >= end + 4, (before, text.text)
            last[y] = start + wide, text.text or ""


def test_all_that_was_told_has_a_tooltip() -> None:
    assert sorted(title for title in pictured(RUN).titles if " from " in title) == sorted(
        [
            "#1 created: took 200 ms, from 0 s",
            "#2 failed: took 100 ms, from 0.1 s\nOSError: refused",
            "Task-1 waited for 200 ms, from 0 s: acquired",
            "Task-1 held #1 for 300 ms, from 0.2 s: released",
            "Task-2 waited for 100 ms, from 0.1 s: failed\nOSError: refused",
            "Task-2 waited for 100 ms, from 0.1 s: failed\nOSError: refused",  # and its end's
            "Task-3 waited for 100 ms, from 0.3 s: timed out\nTimeoutError: too late",
            "Task-3 waited for 100 ms, from 0.3 s: timed out\nTimeoutError: too late",
            "Task-4 waited for 300 ms, from 0.3 s: acquired",
            "#1 held by nobody for 100 ms, from 0.5 s",
            "Task-4 held #1 for 300 ms, from 0.6 s: discarded",
            "#1 closed, discarded: took 100 ms, from 0.9 s",
        ]
    )


def test_names_and_ends_are_written_where_they_fit() -> None:
    texts = pictured(RUN).texts
    assert texts.count("Task-1") == texts.count("Task-4") == 2  # the wait and the lease
    assert "Task-2 · failed" in texts
    assert texts.count("Task-3") == 1  # what became of it does not fit
    assert "Task-3 · timed out" in pictured(RUN, end=0.9).texts
    assert "#1" in texts
    assert "discarded" in texts
    assert "failed" in texts
    assert "What the pool 'bank' did" in texts
    assert "2 resources · 2 leases · 4 acquires that waited or failed · 1,000 ms" in texts


def test_bars_are_where_their_times_are() -> None:
    picture = pictured(RUN)
    bars = {bar.title.partition(":")[0]: bar for bar in picture.bars}
    lease = bars["Task-4 held #1 for 300 ms, from 0.6 s"]
    wait = bars["Task-4 waited for 300 ms, from 0.3 s"]
    closing = bars["#1 closed, discarded"]
    second = lease.width / 0.3
    assert wait.right == pytest.approx(lease.x, abs=0.2)
    assert lease.right == pytest.approx(closing.x, abs=0.2)
    assert wait.width == pytest.approx(0.3 * second, abs=0.2)
    assert bars["#1 created"].width == pytest.approx(0.2 * second, abs=0.2)
    assert closing.right == pytest.approx(1180, abs=0.2)
    assert wait.y > lease.bottom


def test_a_tie_leads_from_the_wait_to_the_lease_that_it_got() -> None:
    picture = pictured(RUN)
    ties = [
        path.attrib["d"]
        for path in picture.root.iter(f"{SVG}path")
        if path.attrib["class"].endswith(" tie")
    ]
    found = [[float(number) for number in re.findall(r"[\d.]+", steps)] for steps in ties]
    bars = {bar.title.partition(" for ")[0]: bar for bar in picture.bars}
    for task in ("Task-1", "Task-4"):
        lease, wait = bars[f"{task} held #1"], bars[f"{task} waited"]
        bottom = lease.bottom + 3  # below the head
        end = wait.right
        assert [pytest.approx(end, abs=0.2), wait.y, lease.x, bottom] in found
    assert len(found) == 3  # and the legend's


def test_a_tie_of_what_is_not_drawn_is_left_out() -> None:
    assert len(re.findall(r" tie\"", draw(Recording("bank", RUN, 0), start=0.55))) == 2
    assert len(re.findall(r" tie\"", draw(Recording("bank", RUN, 0), start=0.65))) == 1


def test_only_the_chosen_time_is_drawn() -> None:
    picture = pictured(RUN, start=0.25, end=0.55)
    assert picture.titled("Task-1 held")
    assert picture.titled("Task-3 waited")
    assert picture.titled("Task-4 waited")
    assert picture.titled("held by nobody")
    assert not picture.titled("created")
    assert not picture.titled("Task-2")
    assert not picture.titled("Task-4 held")
    assert not picture.titled("closed")
    assert "0.25 s to 0.55 s" in " ".join(picture.texts)
    assert "discarded" not in picture.texts
    axis = [text for text in picture.texts if text.endswith(" ms")]
    assert axis == ["250 ms", "300 ms", "350 ms", "400 ms", "450 ms", "500 ms", "550 ms"]


def test_what_only_touches_the_chosen_time_is_not_drawn() -> None:
    picture = pictured(RUN, start=0.5, end=0.6)
    assert picture.titled("held by nobody")
    assert picture.titled("Task-4 waited")
    assert not picture.titled("held #1")


def test_what_ends_later_has_no_end_in_the_picture() -> None:
    assert len(pictured(RUN, end=0.4).titled("Task-3 waited")) == 2  # its bar and its end
    assert len(pictured(RUN, end=0.35).titled("Task-3 waited")) == 1
    assert "discarded" in pictured(RUN, end=1.0).texts
    assert "discarded" not in pictured(RUN, end=0.95).texts


def test_an_end_beyond_the_recordings_is_its_end() -> None:
    assert draw(Recording("bank", RUN, 0), end=7.0) == draw(Recording("bank", RUN, 0))


@pytest.mark.parametrize(
    "times",
    [
        {"start": -1.0},
        {"start": 1.0},
        {"start": 0.5, "end": 0.5},
        {"start": 0.5, "end": 0.25},
        {"start": float("nan")},
        {"end": float("nan")},
        {"end": -1.0},
        {"start": float("inf")},
    ],
)
def test_times_with_nothing_between_are_refused(times: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the run took 1 s"):
        pictured(RUN, **times)


@pytest.mark.parametrize("options", [{"width": 399}, {"rows": 0}])
def test_a_picture_too_small_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="400 pixels and 1 row at least"):
        pictured(RUN, **options)


def test_nothing_recorded_makes_a_picture_too() -> None:
    texts = pictured([]).texts
    assert "0 resources · 0 leases · 0 acquires that waited or failed · 0 µs" in texts


def test_names_are_written_as_they_are_and_what_xml_cannot_say_is_marked() -> None:
    name = "<b>&amp;\"'\0\ud800"
    picture = pictured([told("use", 1, 0.0, 1.0, "released", name)], name=name)
    shown = "<b>&amp;\"'\ufffd\ufffd"
    assert shown in picture.texts
    assert picture.titled(f"{shown} held #1")


def test_rows_are_left_out_evenly_and_the_picture_says_so() -> None:
    picture = pictured(waiting(100), rows=10)
    shown = {int(title.split()[0][5:]) for title in picture.titled("cancelled")}
    assert shown == set(range(0, 100, 10))
    assert {"10 of 100", "rows drawn"} <= set(picture.texts)
    assert "rows drawn" not in pictured(waiting(10), rows=10).texts


def test_rows_of_resources_are_left_out_as_well() -> None:
    uses = [told("use", i, 0.0, 1.0, "released", f"Task-{i}") for i in range(1, 9)]
    picture = pictured(uses, rows=4)
    assert len(picture.titled(" held #")) == 4
    assert "4 of 8" in picture.texts


def test_many_rows_of_waits_are_low_and_without_names() -> None:
    few, many = pictured(waiting(18)), pictured(waiting(19))
    assert "Task-3 · cancelled" in few.texts
    assert "Task-3 · cancelled" not in many.texts
    assert len(many.titled("cancelled")) == 2 * 19


def test_a_resource_takes_the_row_of_one_that_is_gone() -> None:
    events = [told("use", i, i, i + 1.0, "detached", "Task-1") for i in range(1, 5)]
    assert len({bar.y for bar in pictured(events).bars if bar.title}) == 1
    assert len({bar.y for bar in pictured(events[::-1]).bars if bar.title}) == 1
    numbers = [event._replace(resource=5 - (event.resource or 0)) for event in events]
    assert len({bar.y for bar in pictured(numbers).bars if bar.title}) == 1
    kept = [event._replace(outcome="released") for event in events]
    uses = [bar for bar in pictured(kept).bars if "Task-1 held" in bar.title]
    assert len({bar.y for bar in uses}) == 4


def test_leases_too_short_to_be_told_apart_are_one_bar() -> None:
    crowd = [told("use", 1, i / 1000, (i + 1) / 1000, "released", f"Task-{i}") for i in range(500)]
    alone = told("use", 1, 50.0, 50.001, "released", "alone")
    last = told("use", 1, 99.0, 100.0, "released", "last")
    picture = pictured([*crowd, alone, last])
    assert picture.titled("500 leases: 500 ms, from 0 s")
    assert picture.titled("alone held #1")
    assert picture.titled("last held #1")
    assert not picture.titled("Task-7 held")
    waits = [event._replace(kind="wait", resource=None, outcome="cancelled") for event in crowd]
    waits.append(told("wait", None, 50.0, 50.001, "cancelled", "alone"))
    picture = pictured([*waits, last])
    assert picture.titled("500 waits: 500 ms, from 0 s")
    assert picture.titled("alone waited")


def test_a_short_closing_is_never_hidden() -> None:
    events = [told("use", 1, 0.0, 100.0, "discarded", "Task-1")]
    events.append(told("close", 1, 100.0, 100.0, "discarded"))
    events.append(told("use", 2, 0.0, 200.0, "released", "Task-2"))
    [bar] = [bar for bar in pictured(events).bars if "#1 closed" in bar.title]
    assert bar.width == 3
    assert bar.look == "broken"
    assert pictured(events[:2]).titled("#1 closed")  # at the very end
    crowd = [told("use", 1, i / 9, (i + 1) / 9, "released", f"Task-{i}") for i in range(900)]
    assert pictured([*crowd, *events[1:], told("use", 3, 0, 9000, "released")]).titled("#1 closed")


@pytest.mark.parametrize(
    ("outcome", "look"),
    [
        ("expired", "aged"),
        ("pruned", "aged"),
        ("retired", "ended"),
        ("closed", "ended"),
        ("discarded", "broken"),
        ("check failed", "broken"),
        ("reset failed", "broken"),
        ("interrupted", "broken"),
        ("of a later version", "broken"),
    ],
)
def test_the_reason_of_a_closing_is_seen(outcome: str, look: str) -> None:
    picture = pictured([told("close", 1, 0.0, 1.0, outcome)])
    [bar] = [bar for bar in picture.bars if bar.title]
    assert bar.look == look
    assert outcome in picture.texts


def test_what_is_still_held_at_the_end_is_said_to_be() -> None:
    picture = pictured([told("wait", 1, 0.0, 1.0, "acquired", "Task-1"), RUN[-1]])
    assert not picture.titled("still held")  # it was closed: only its use is missing
    wait = told("wait", 1, 0.0, 1.0, "acquired", "Task-1")
    picture = pictured([wait, told("wait", None, 0.0, 2.0, "closed", "Task-2")])
    assert picture.titled("Task-1 held #1 for 1,000 ms, from 1 s: still held")
    assert "still held" in picture.texts


def test_dropped_events_are_told() -> None:
    assert any("without the 1 oldest event" in text for text in pictured(RUN, 1).texts)
    assert any("without the 1,234 oldest events" in text for text in pictured(RUN, 1234).texts)


def test_both_shades_are_in_the_picture() -> None:
    light, dark = draw(Recording("bank", RUN, 0)).split("@media (prefers-color-scheme:dark)")
    for name, colours in FILLS.items():
        assert f".{name}{{fill:{colours[0]}}}" in light
        assert f".{name}{{fill:{colours[1]}}}" in dark


def test_every_look_that_is_used_has_its_colour() -> None:
    text = draw(Recording("bank", ModelPool(3, 6, 3, 4).events + RUN, 0))
    used = {look for looks in re.findall(r'class="([^"]+)"', text) for look in looks.split()}
    assert used <= set(re.findall(r"\.([a-z][a-z0-9-]*)\{", text))


def test_another_process_draws_the_same_bytes(tmp_path: Path) -> None:
    timeline = Timeline("bank")
    for event in ModelPool(5, 6, 3, 4).events:
        timeline(event)
    timeline.save(tmp_path / "run.json")
    command = [sys.executable, "-m", "nodetool.concurrency.timeline", str(tmp_path / "run.json")]
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'run.svg'}\n", "")
    assert (tmp_path / "run.svg").read_text("utf-8") == draw(timeline.recording())
