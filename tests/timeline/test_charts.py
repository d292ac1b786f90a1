"""The charts of a picture: how many there were."""

from __future__ import annotations

import re

import pytest

from tests.timeline.pictures import SVG, pictured, told, waiting


def test_the_charts_tell_the_highest_numbers() -> None:
    events = [told("use", i, 0.0, 10.0, "released", "Task-1") for i in range(1, 8)]
    events += waiting(12)
    texts = pictured(events, start=0.0, end=5000.0).texts
    assert texts.count("7") == 1
    assert texts.count("12") == 1
    assert texts.count("waiting") == 3  # the legend, the rows, the chart
    assert pictured(events[:7]).texts.count("waiting") == 2  # no chart


def test_the_areas_are_as_large_as_what_they_stand_for() -> None:
    events = [told("use", i, 0.0, 1.0, "detached", "Task-1") for i in (1, 2)]
    events.append(told("use", 3, 0.0, 4.0, "detached", "Task-1"))
    picture = pictured(events, width=512)
    areas = {
        path.attrib["class"]: path.attrib["d"]
        for path in picture.root.iter(f"{SVG}path")
        if path.findtext(f"{SVG}title")
    }
    assert set(areas) == {"in-use"}
    numbers = [float(number) for number in re.findall(r"[\d.]+", areas["in-use"])]
    corners = list(zip(numbers[::2], numbers[1::2], strict=True))
    turned = [*corners[1:], corners[0]]
    doubled = sum(a * d - c * b for (a, b), (c, d) in zip(corners, turned, strict=True))
    width, height = 512 - 20 - 112, 60
    assert abs(doubled) / 2 == pytest.approx(width * height * (3 * 1 + 1 * 3) / (3 * 4), rel=0.01)


def test_within_a_pixel_an_area_is_the_mean() -> None:
    half = [told("use", 1, i / 8192, (i + 0.5) / 8192, "released") for i in range(8192)]
    [steps] = [
        path.attrib["d"]
        for path in pictured([*half, told("use", 1, 1.0, 1.0, "detached")]).root.iter(f"{SVG}path")
        if path.attrib["class"] == "in-use"
    ]
    heights = [float(number) for number in re.findall(r"[\d.]+", steps)][1::2]
    bottom = max(heights)
    assert all(height == bottom or 25 < bottom - height < 35 for height in heights)


def test_the_charts_tell_of_the_chosen_time_only() -> None:
    events = [told("use", i, 0.0, 1.0, "detached", "Task-1") for i in range(1, 8)]
    events += [told("use", i, 2.0, 9.0, "detached", "Task-1") for i in range(11, 14)]
    assert "7" in pictured(events).texts
    assert "7" not in pictured(events, start=1.5).texts
    assert "3" in pictured(events, start=1.5).texts
    assert "3" not in pictured(events, end=1.5).texts


def test_what_stays_is_counted_up_to_the_end() -> None:
    events = [
        told("use", 1, 0.0, 1.0, "released", "Task-1"),
        told("use", 2, 10.0, 10.0, "detached", "Task-2"),
    ]
    areas = pictured(events).titled("idle")
    assert areas == ["idle"]
