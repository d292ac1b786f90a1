"""The picture shows every event, is readable, and is the same every time."""

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
from tests.timeline.pictures import (
    RUN,
    SVG,
    WORK,
    Picture,
    draw_events,
    make_event,
    overlapping_waits,
)
from tests.timeline.streams import ModelPool, any_events, examples, model_pools

ANCHORS = {"start": 0.0, "middle": 0.5, "end": 1.0}
LETTER = 6.0  # pixels: the width of a letter of a tag, or more


@examples(35)
@given(any_events, st.sampled_from([400, 1200, 3000]), st.integers(1, 5), st.integers(0, 3))
def test_any_recording_makes_a_picture_within_its_frame(
    events: list[PoolEvent], width: int, rows: int, part: int
) -> None:
    first = min((event.start for event in events), default=0.0)
    length = max((event.end for event in events), default=0.0) - first
    options: dict[str, Any] = {"width": width, "rows": rows}
    if part and length > 1e-5:  # a part of the run, otherwise all of it
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
def test_tags_in_one_row_never_overlap(pool: ModelPool) -> None:
    picture = draw_events(pool.events, width=400)
    last: dict[str, tuple[float, str]] = {}
    for text in picture.root.iter(f"{SVG}text"):
        look, x, y = (text.attrib[name] for name in ("class", "x", "y"))
        if float(x) >= 112 and look.endswith(" small") and not look.startswith("ink"):
            width = len(text.text or "") * LETTER
            start = float(x) - width * ANCHORS[text.attrib.get("text-anchor", "start")]
            end, before = last.get(y, (0.0, ""))
            if before and not before.endswith(" ms"):
                assert start >= end + 4, (before, text.text)
            last[y] = start + width, text.text or ""


def test_every_event_has_a_tooltip() -> None:
    assert sorted(title for title in draw_events(RUN).titles if " from " in title) == sorted(
        [
            "#1 created: took 200 ms, from 0 s",
            "#2 failed: took 100 ms, from 0.1 s\nOSError: refused",
            "Task-1 waited for 200 ms, from 0 s: acquired",
            "Task-1 held #1 for 300 ms, from 0.2 s: released",
            "Task-2 waited for 100 ms, from 0.1 s: failed\nOSError: refused",
            "Task-2 waited for 100 ms, from 0.1 s: failed\nOSError: refused",  # twice: bar and mark
            "Task-3 waited for 100 ms, from 0.3 s: timed out\nTimeoutError: too late",
            "Task-3 waited for 100 ms, from 0.3 s: timed out\nTimeoutError: too late",
            "Task-4 waited for 300 ms, from 0.3 s: acquired",
            "#1 held by nobody for 100 ms, from 0.5 s",
            "Task-4 held #1 for 300 ms, from 0.6 s: discarded",
            "#1 closed, discarded: took 100 ms, from 0.9 s",
        ]
    )


def test_names_and_outcomes_are_written_where_they_fit() -> None:
    texts = draw_events(RUN).texts
    assert texts.count("Task-1") == texts.count("Task-4") == 2  # the wait and the lease
    assert "Task-2 · failed" in texts
    assert texts.count("Task-3") == 1  # its outcome does not fit
    assert "Task-3 · timed out" in draw_events(RUN, end=0.9).texts
    assert "#1" in texts
    assert "discarded" in texts
    assert "failed" in texts
    assert "What the pool 'bank' did" in texts
    assert "2 resources · 2 leases · 4 acquires that waited or failed · 1,000 ms" in texts


def test_the_position_of_a_bar_shows_its_time() -> None:
    picture = draw_events(RUN)
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


def test_a_tie_leads_from_a_wait_to_its_lease() -> None:
    picture = draw_events(RUN)
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
    assert len(found) == 3  # and one in the legend


def test_a_tie_is_left_out_if_one_of_its_ends_is_not_drawn() -> None:
    assert len(re.findall(r" tie\"", draw(Recording("bank", RUN, 0), start=0.55))) == 2
    assert len(re.findall(r" tie\"", draw(Recording("bank", RUN, 0), start=0.65))) == 1


def test_only_the_chosen_period_is_drawn() -> None:
    picture = draw_events(RUN, start=0.25, end=0.55)
    assert picture.titles_with("Task-1 held")
    assert picture.titles_with("Task-3 waited")
    assert picture.titles_with("Task-4 waited")
    assert picture.titles_with("held by nobody")
    assert not picture.titles_with("created")
    assert not picture.titles_with("Task-2")
    assert not picture.titles_with("Task-4 held")
    assert not picture.titles_with("closed")
    assert "0.25 s to 0.55 s" in " ".join(picture.texts)
    assert "discarded" not in picture.texts
    assert picture.axis() == ["250 ms", "300 ms", "350 ms", "400 ms", "450 ms", "500 ms", "550 ms"]


def test_a_span_that_only_touches_the_chosen_period_is_not_drawn() -> None:
    picture = draw_events(RUN, start=0.5, end=0.6)
    assert picture.titles_with("held by nobody")
    assert picture.titles_with("Task-4 waited")
    assert not picture.titles_with("held #1")


def test_a_span_that_ends_after_the_period_has_no_end_mark() -> None:
    assert len(draw_events(RUN, end=0.4).titles_with("Task-3 waited")) == 2  # its bar and its end
    assert len(draw_events(RUN, end=0.35).titles_with("Task-3 waited")) == 1
    assert "discarded" in draw_events(RUN, end=1.0).texts
    assert "discarded" not in draw_events(RUN, end=0.95).texts


def test_an_end_after_the_recordings_end_is_that_end() -> None:
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
def test_an_empty_period_is_refused(times: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the run took 1 s"):
        draw_events(RUN, **times)


@pytest.mark.parametrize("options", [{"width": 399}, {"rows": 0}])
def test_a_picture_that_is_too_small_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="400 pixels and 1 row at least"):
        draw_events(RUN, **options)


def test_an_empty_recording_can_be_drawn() -> None:
    texts = draw_events([]).texts
    assert "0 resources · 0 leases · 0 acquires that waited or failed · 0 µs" in texts


def test_names_are_escaped_and_characters_that_xml_forbids_are_replaced() -> None:
    name = "<b>&amp;\"'\0\ud800"
    picture = draw_events([make_event("use", 1, 0.0, 1.0, "released", name)], name=name)
    shown = "<b>&amp;\"'\ufffd\ufffd"
    assert shown in picture.texts
    assert picture.titles_with(f"{shown} held #1")


def test_surplus_rows_are_left_out_evenly_and_the_picture_says_so() -> None:
    picture = draw_events(overlapping_waits(100), rows=10)
    shown = {int(title.split()[0][5:]) for title in picture.titles_with("cancelled")}
    assert shown == set(range(0, 100, 10))
    assert {"10 of 100", "rows drawn"} <= set(picture.texts)
    assert "rows drawn" not in draw_events(overlapping_waits(10), rows=10).texts


def test_surplus_rows_of_resources_are_left_out() -> None:
    uses = [make_event("use", i, 0.0, 1.0, "released", f"Task-{i}") for i in range(1, 9)]
    picture = draw_events(uses, rows=4)
    assert len(picture.titles_with(" held #")) == 4
    assert "4 of 8" in picture.texts


def test_many_rows_of_waits_have_no_names() -> None:
    few, many = draw_events(overlapping_waits(18)), draw_events(overlapping_waits(19))
    assert "Task-3 · cancelled" in few.texts
    assert "Task-3 · cancelled" not in many.texts
    assert len(many.titles_with("cancelled")) == 2 * 19


def test_a_resource_takes_the_row_of_a_closed_one() -> None:
    events = [make_event("use", i, i, i + 1.0, "detached", "Task-1") for i in range(1, 5)]
    assert len({bar.y for bar in draw_events(events).bars if bar.title}) == 1
    assert len({bar.y for bar in draw_events(events[::-1]).bars if bar.title}) == 1
    numbers = [event._replace(resource=5 - (event.resource or 0)) for event in events]
    assert len({bar.y for bar in draw_events(numbers).bars if bar.title}) == 1
    kept = [event._replace(outcome="released") for event in events]
    uses = [bar for bar in draw_events(kept).bars if "Task-1 held" in bar.title]
    assert len({bar.y for bar in uses}) == 4


def test_adjacent_leases_that_are_too_short_share_a_bar() -> None:
    crowd = [
        make_event("use", 1, i / 1000, (i + 1) / 1000, "released", f"Task-{i}") for i in range(500)
    ]
    alone = make_event("use", 1, 50.0, 50.001, "released", "alone")
    last = make_event("use", 1, 99.0, 100.0, "released", "last")
    picture = draw_events([*crowd, alone, last])
    assert picture.titles_with("500 leases: 500 ms, from 0 s")
    assert picture.titles_with("alone held #1")
    assert picture.titles_with("last held #1")
    assert not picture.titles_with("Task-7 held")
    waits = [event._replace(kind="wait", resource=None, outcome="cancelled") for event in crowd]
    waits.append(make_event("wait", None, 50.0, 50.001, "cancelled", "alone"))
    picture = draw_events([*waits, last])
    assert picture.titles_with("500 waits: 500 ms, from 0 s")
    assert picture.titles_with("alone waited")


def test_checks_and_resets_are_lower_bars_between_the_leases() -> None:
    bars = {bar.title.partition(":")[0]: bar for bar in draw_events(WORK).bars if bar.title}
    lease = bars["Task-1 held #1 for 200 ms, from 0.1 s"]
    idle = bars["#1 held by nobody for 200 ms, from 0.4 s"]
    looks = {
        "#1 reset passed": "resetting",
        "#1 check passed": "checking",
        "#1 reset failed": "broken",
    }
    for title, look in looks.items():
        work = bars[title]
        assert work.look == look
        assert lease.y < work.y < idle.y < idle.bottom < work.bottom < lease.bottom


def test_a_failed_check_that_is_the_last_event_has_a_tag() -> None:
    assert "failed" in draw_events([make_event("check", 1, 0.0, 1.0, "failed")]).texts
    assert "passed" not in draw_events([make_event("check", 1, 0.0, 1.0, "passed")]).texts


def test_leases_with_checks_and_resets_that_are_too_short_share_a_bar() -> None:
    kinds = (("check", "passed", ""), ("use", "released", "Task-1"), ("reset", "passed", ""))
    crowd = [
        make_event(kind, 1, i / 1000, (i + 1) / 1000, outcome, task)
        for i, (kind, outcome, task) in enumerate(kinds * 100)
    ]
    last = make_event("use", 1, 99.0, 100.0, "released", "last")
    [bar] = [bar for bar in draw_events([*crowd, last]).bars if "leases" in bar.title]
    assert bar.title.startswith("100 checks, 100 leases, 100 resets: 300 ms, from 0 s")
    assert bar.look == "in-use"


@pytest.mark.parametrize(("outcome", "look"), [("passed", "checking"), ("failed", "broken")])
def test_checks_alone_that_are_too_short_share_a_bar(outcome: str, look: str) -> None:
    checks = [make_event("check", 1, 0.0, 0.001, outcome)]
    checks.append(make_event("check", 1, 0.002, 0.003, "passed"))
    picture = draw_events([*checks, make_event("use", 1, 99.0, 100.0, "released", "last")])
    [bar] = [bar for bar in picture.bars if bar.title.startswith("2 checks: 3.00 ms")]
    assert bar.look == look


def test_a_short_closing_is_never_hidden() -> None:
    events = [make_event("use", 1, 0.0, 100.0, "discarded", "Task-1")]
    events.append(make_event("close", 1, 100.0, 100.0, "discarded"))
    events.append(make_event("use", 2, 0.0, 200.0, "released", "Task-2"))
    [bar] = [bar for bar in draw_events(events).bars if "#1 closed" in bar.title]
    assert bar.width == 3
    assert bar.look == "broken"
    assert draw_events(events[:2]).titles_with("#1 closed")  # at the very end
    crowd = [make_event("use", 1, i / 9, (i + 1) / 9, "released", f"Task-{i}") for i in range(900)]
    assert draw_events(
        [*crowd, *events[1:], make_event("use", 3, 0, 9000, "released")]
    ).titles_with("#1 closed")


@pytest.mark.parametrize(
    ("outcome", "look"),
    [
        ("expired", "aged"),
        ("pruned", "aged"),
        ("retired", "ended"),
        ("surplus", "ended"),
        ("closed down", "ended"),
        ("discarded", "broken"),
        ("check failed", "broken"),
        ("reset failed", "broken"),
        ("interrupted", "broken"),
        ("unknown to this version", "broken"),
    ],
)
def test_the_reason_of_a_closing_is_shown(outcome: str, look: str) -> None:
    picture = draw_events([make_event("close", 1, 0.0, 1.0, outcome)])
    [bar] = [bar for bar in picture.bars if bar.title]
    assert bar.look == look
    assert outcome in picture.texts


@pytest.mark.parametrize(
    ("outcome", "look"),
    [
        ("timed out", "aged"),
        ("rejected", "aged"),
        ("cancelled", "ended"),
        ("closed", "ended"),
        ("failed", "broken"),
    ],
)
def test_the_reason_of_a_wait_in_vain_is_shown(outcome: str, look: str) -> None:
    picture = draw_events([make_event("wait", None, 0.0, 1.0, outcome, "Task-1")])
    [wait, end] = [bar for bar in picture.bars if bar.title]
    assert (wait.look, end.look) == ("t0 wait", look)


def test_a_lease_without_an_end_is_shown_as_still_held() -> None:
    picture = draw_events([make_event("wait", 1, 0.0, 1.0, "acquired", "Task-1"), RUN[-1]])
    assert not picture.titles_with("still held")  # it was closed since
    wait = make_event("wait", 1, 0.0, 1.0, "acquired", "Task-1")
    picture = draw_events([wait, make_event("wait", None, 0.0, 2.0, "closed", "Task-2")])
    assert picture.titles_with("Task-1 held #1 for 1,000 ms, from 1 s: still held")
    assert "still held" in picture.texts


def test_the_picture_says_how_many_events_were_dropped() -> None:
    assert any("without the 1 oldest event" in text for text in draw_events(RUN, 1).texts)
    assert any("without the 1,234 oldest events" in text for text in draw_events(RUN, 1234).texts)


def test_the_picture_has_colours_for_light_and_dark_mode() -> None:
    light, dark = draw_events(RUN).colours()
    assert set(light) == set(dark)
    for name in ("paper", "ink", "idle", "broken", "t0"):
        assert light[name] != dark[name]


def test_every_class_that_is_used_has_a_style() -> None:
    text = draw(Recording("bank", ModelPool(3, 6, 3, 4).events + RUN + WORK, 0))
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
