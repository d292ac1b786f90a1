"""The charts of a picture show the counts over time."""

from __future__ import annotations

import re

import pytest

from tests.timeline.pictures import RUN, SVG, WORK, draw_events, make_event, overlapping_waits


def test_each_chart_shows_its_highest_count() -> None:
    events = [make_event("use", i, 0.0, 10.0, "released", "Task-1") for i in range(1, 8)]
    events += overlapping_waits(12)
    texts = draw_events(events, start=0.0, end=5000.0).texts
    assert texts.count("7") == 1
    assert texts.count("12") == 1
    assert texts.count("waiting") == 3  # the legend, the rows, the chart
    assert draw_events(events[:7]).texts.count("waiting") == 2  # no chart


def test_the_size_of_an_area_is_proportional_to_count_and_time() -> None:
    events = [make_event("use", i, 0.0, 1.0, "detached", "Task-1") for i in (1, 2)]
    events.append(make_event("use", 3, 0.0, 4.0, "detached", "Task-1"))
    picture = draw_events(events, width=512)
    areas = {
        path.attrib["class"]: path.attrib["d"]
        for path in picture.root.iter(f"{SVG}path")
        if path.findtext(f"{SVG}title")
    }
    assert set(areas) == {"in-use"}
    numbers = [float(number) for number in re.findall(r"[\d.]+", areas["in-use"])]
    corners = list(zip(numbers[::2], numbers[1::2], strict=True))
    next_corners = [*corners[1:], corners[0]]
    doubled_area = sum(a * d - c * b for (a, b), (c, d) in zip(corners, next_corners, strict=True))
    width, height = 512 - 20 - 112, 60
    assert abs(doubled_area) / 2 == pytest.approx(
        width * height * (3 * 1 + 1 * 3) / (3 * 4), rel=0.01
    )


def test_a_column_shows_the_mean_of_its_pixel() -> None:
    half = [make_event("use", 1, i / 8192, (i + 0.5) / 8192, "released") for i in range(8192)]
    [steps] = [
        path.attrib["d"]
        for path in draw_events([*half, make_event("use", 1, 1.0, 1.0, "detached")]).root.iter(
            f"{SVG}path"
        )
        if path.attrib["class"] == "in-use"
    ]
    heights = [float(number) for number in re.findall(r"[\d.]+", steps)][1::2]
    bottom = max(heights)
    assert all(height == bottom or 25 < bottom - height < 35 for height in heights)


def test_the_charts_show_only_the_chosen_period() -> None:
    events = [make_event("use", i, 0.0, 1.0, "detached", "Task-1") for i in range(1, 8)]
    events += [make_event("use", i, 2.0, 9.0, "detached", "Task-1") for i in range(11, 14)]
    assert "7" in draw_events(events).texts
    assert "7" not in draw_events(events, start=1.5).texts
    assert "3" in draw_events(events, start=1.5).texts
    assert "3" not in draw_events(events, end=1.5).texts


def test_checks_and_resets_are_in_the_chart_if_there_are_any() -> None:
    with_work, without = draw_events(WORK), draw_events(RUN)
    for state in ("checking", "resetting"):
        assert with_work.titles_with(state) == [state]
        assert with_work.texts.count(state) == 2  # the legend, the chart
        assert not without.titles_with(state)
        assert without.texts.count(state) == 1
    only_resets = draw_events(WORK, end=0.5)
    assert only_resets.texts.count("resetting") == 2
    assert only_resets.texts.count("checking") == 1


def test_the_names_of_the_states_do_not_overlap_with_the_chart_of_the_waits() -> None:
    picture = draw_events([*WORK, *overlapping_waits(3)], end=1.0)
    names = {"in use", "checking", "resetting", "idle", "creating", "closing"}
    found = [
        (float(text.attrib["y"]), text.text)
        for text in picture.root.iter(f"{SVG}text")
        if text.attrib["x"] in ("20", "32") and float(text.attrib["y"]) > 100
    ]
    lowest = max(y for y, text in found if text in names)
    assert max(y for y, text in found if text == "waiting") > lowest + 10


def test_an_idle_resource_is_counted_until_the_end() -> None:
    events = [
        make_event("use", 1, 0.0, 1.0, "released", "Task-1"),
        make_event("use", 2, 10.0, 10.0, "detached", "Task-2"),
    ]
    areas = draw_events(events).titles_with("idle")
    assert areas == ["idle"]
