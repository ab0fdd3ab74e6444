"""Curves in one line of text."""

import pytest

from inkstone.core.sparkline import Series, sparkline


def test_a_series_keeps_means_of_neighbors() -> None:
    series = Series(most=4)
    for value in range(1, 5):
        series.add(value)
    assert (series.means, series.span) == ([1.5, 3.5], 2)
    series.add(5)
    assert series.means == [1.5, 3.5]
    series.add(6)
    assert series.means == [1.5, 3.5, 5.5]
    for value in (7, 8):
        series.add(value)
    assert (series.means, series.span) == ([2.5, 6.5], 4)


def test_a_long_series_stays_short_and_loses_nothing() -> None:
    series = Series(most=16)
    for value in range(1024):
        series.add(value)
    assert len(series.means) < 16
    assert sum(series.means) / len(series.means) == pytest.approx(1023 / 2)


def test_bars_go_from_the_lowest_to_the_highest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7, 7, 7], 10) == "▁▂▃▄▅▆▇███"
    assert sparkline([1, 3, 5, 7], 2) == "▁█"
    assert sparkline([5, 5, 5], 8) == "▁▁▁"
    assert sparkline([], 8) == sparkline([1, 2], 0) == ""


def test_a_high_beginning_does_not_flatten_the_rest() -> None:
    line = sparkline([1000, *range(9, 0, -1)], 10)
    assert line[0] == "█"
    assert len(set(line)) >= 7
