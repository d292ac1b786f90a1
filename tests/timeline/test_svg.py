"""Numbers, times and names as people read them, and colours that they can tell apart."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodetool.concurrency.timeline._svg import (
    FILLS,
    TASK_COLOURS,
    duration,
    fitting,
    moment,
    ticks,
)
from tests.timeline.streams import examples


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    assert fitting("Task-1", 40) == "Task-1"
    assert fitting("a-quite-long-name-1234", 66) == "a-qu…-1234"
    assert fitting("a-quite-long-name-1234", 20) == ""
    for width in range(200):
        assert len(fitting("a-quite-long-name-1234", width)) * 6.6 <= width


@examples(100)
@given(
    st.integers(0, 10**12), st.integers(1, 10**12), st.integers(3, 12), st.sampled_from([0, 10**6])
)
def test_ticks_are_round_even_and_few(start: int, length: int, most: int, scale: int) -> None:
    length = length % scale + 1 if scale else length
    found = list(ticks(start, start + length, most))
    times = [time for time, _ in found]
    assert all(start <= time <= start + length for time in times)
    assert len({after - before for before, after in pairwise(times)}) <= 1
    assert len(times) <= most + 1
    assert len(times) >= min(most // 3, length)
    assert len({text for _, text in found}) == len(found)


def test_ticks_are_written_in_a_unit_that_suits_all_of_them() -> None:
    assert [text for _, text in ticks(0, 1_000, 5)] == [
        *("0 µs", "200 µs", "400 µs", "600 µs", "800 µs", "1,000 µs")
    ]
    assert [text for _, text in ticks(2_100_000, 2_200_000, 4)] == [*("2.10 s", "2.15 s", "2.20 s")]
    assert [text for _, text in ticks(0, 1_200_000_000, 4)] == [
        *("0 min", "5 min", "10 min"),
        *("15 min", "20 min"),
    ]
    assert [text for _, text in ticks(600_000_010, 600_000_012, 4)] == [
        *("600.000010 s", "600.000011 s", "600.000012 s")
    ]
    assert [time for time, _ in ticks(0, 4, 10)] == [0, 1, 2, 3, 4]


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
    assert duration(micros) == text


def test_moments_are_exact_to_the_microsecond() -> None:
    texts = [moment(micros) for micros in (0, 1, 250_000, 1_000_000, 1_234_000_001)]
    assert texts == ["0 s", "0.000001 s", "0.25 s", "1 s", "1,234.000001 s"]


def luminance(colour: str) -> float:
    """How light a colour is, as the guidelines for accessible web pages define it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("shade", [0, 1], ids=["light", "dark"])
def test_texts_can_be_read_in_light_and_dark(shade: int) -> None:
    paper = FILLS["paper"][shade]
    for name in ("ink", "faint", "broken", "ended"):
        assert contrast(FILLS[name][shade], paper) >= 4.5, name
    for colours in TASK_COLOURS:
        assert contrast(colours[shade], FILLS["on"][shade]) >= 4.5, colours
        assert contrast(colours[shade], paper) >= 3
