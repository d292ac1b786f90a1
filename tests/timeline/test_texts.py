"""Names, times and colours in a picture are readable."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodetool.concurrency import PoolEvent
from tests.timeline.pictures import SVG, draw_events, make_event
from tests.timeline.streams import examples

WIDTH = 1200  # the default, of which RUN_WIDTH pixels are for the run
RUN_WIDTH = 1068
LETTER = 6.6  # pixels: the width of a letter in a bar, or more
UNITS = {"µs": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000}


def seconds(micros: int) -> float:
    return micros / 1_000_000


def name_in_bar(name: str, width: int) -> str:
    """Return the text in a bar that is `width` pixels wide."""
    events = [
        make_event("use", 1, 0.0, width, "detached", name),
        make_event("wait", None, 0.0, RUN_WIDTH, "cancelled", "other"),
    ]
    picture = draw_events(events, width=WIDTH)
    [bar] = [bar for bar in picture.bars if " held #1" in bar.title]
    assert bar.width == width
    texts = picture.root.iter(f"{SVG}text")
    return "".join(text.text or "" for text in texts if text.attrib["class"] == "on")


def axis(start: int, end: int, most: int = 9) -> list[str]:
    """Return the axis of a picture from `start` to `end`, with about `most` times at most."""
    event = make_event("wait", None, 0.0, seconds(end), "cancelled")
    width = max(400, most * 110)
    return draw_events([event], start=seconds(start), end=seconds(end), width=width).axis()


def tooltip(event: PoolEvent) -> str:
    """Return the tooltip of an event in a run that starts at 0."""
    first = make_event("wait", None, 0.0, 0.0, "rejected", "first")
    [title] = draw_events([first, event]).titles_with(" held #1")
    return title


def test_a_long_name_keeps_its_start_and_its_end() -> None:
    assert name_in_bar("Task-1", 48) == "Task-1"
    assert name_in_bar("a-quite-long-name-1234", 74) == "a-qu…-1234"
    assert name_in_bar("a-quite-long-name-1234", 28) == ""


def test_a_name_never_exceeds_its_bar() -> None:
    for width in range(1, 200, 3):
        name = name_in_bar("a-quite-long-name-1234", width)
        assert len(name) * LETTER <= width - 8 or not name


@examples(100)
@given(
    st.integers(0, 10**12), st.integers(1, 10**12), st.integers(4, 12), st.sampled_from([0, 10**6])
)
def test_the_times_of_the_axis_are_round_even_and_few(
    start: int, length: int, most: int, scale: int
) -> None:
    length = length % scale + 1 if scale else length
    texts = axis(start, start + length, most)
    times = []
    for text in texts:
        number, unit = text.split()
        times.append(Decimal(number.replace(",", "")) * UNITS[unit])
    assert all(start <= time <= start + length for time in times)
    assert len({after - before for before, after in pairwise(times)}) <= 1
    assert len(times) <= most + 1
    assert len(times) >= min(most // 3, length)
    assert len(set(texts)) == len(texts)


def test_all_times_of_the_axis_have_one_unit_that_suits_them() -> None:
    assert axis(0, 1_000, 5) == ["0 µs", "200 µs", "400 µs", "600 µs", "800 µs", "1,000 µs"]
    assert axis(2_100_000, 2_200_000, 4) == ["2.10 s", "2.15 s", "2.20 s"]
    assert axis(0, 1_200_000_000, 4) == ["0 min", "5 min", "10 min", "15 min", "20 min"]
    assert axis(600_000_010, 600_000_012, 4) == ["600.000010 s", "600.000011 s", "600.000012 s"]
    assert axis(0, 4, 10) == ["0 µs", "1 µs", "2 µs", "3 µs", "4 µs"]


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0 µs"),
        (1_999, "1,999 µs"),
        (2_000, "2.00 ms"),
        (45_678, "45.7 ms"),
        (1_234_567, "1,235 ms"),
        (2_345_678, "2.35 s"),
        (599_999_999, "600 s"),
        (600_000_000, "10.0 min"),
        (36_000_000_000, "10.0 h"),
    ],
)
def test_durations_have_about_three_digits(micros: int, text: str) -> None:
    use = make_event("use", 1, 0.0, seconds(micros), "detached", "Task-1")
    assert tooltip(use) == f"Task-1 held #1 for {text}, from 0 s: detached"


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0 s"),
        (1, "0.000001 s"),
        (250_000, "0.25 s"),
        (1_000_000, "1 s"),
        (1_234_000_001, "1,234.000001 s"),
    ],
)
def test_moments_are_exact_to_the_microsecond(micros: int, text: str) -> None:
    use = make_event("use", 1, seconds(micros), seconds(micros), "detached", "Task-1")
    assert tooltip(use) == f"Task-1 held #1 for 0 µs, from {text}: detached"


def luminance(colour: str) -> float:
    """Compute the luminance of a colour as the guidelines for accessible web pages define it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_texts_are_readable_in_light_and_dark_mode(mode: int) -> None:
    colours = draw_events([]).colours()[mode]
    for name in ("ink", "faint", "broken", "ended"):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    tasks = [name for name in colours if name[0] == "t" and name[1:].isdigit()]
    assert len(tasks) >= 8
    for name in tasks:
        assert contrast(colours[name], colours["on"]) >= 4.5, name
        assert contrast(colours[name], colours["paper"]) >= 3, name
