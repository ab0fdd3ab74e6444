"""Lengths: hand-counted."""

from inkstone.data.check.histogram import LengthSummary


def test_bins_double_every_other_time() -> None:
    summary = LengthSummary.of([2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16])
    assert summary.bins == ((2, 2, 1), (3, 3, 1), (4, 5, 2), (6, 7, 2), (8, 11, 2), (12, 15, 2), (16, 23, 1))


def test_percentiles_are_lengths_that_occur() -> None:
    summary = LengthSummary.of(list(range(1, 101)))
    assert summary.percentiles == {50: 50, 90: 90, 95: 95, 99: 99}
    assert (summary.shortest, summary.mean, summary.longest) == (1, 50.5, 100)
    assert sum(each.number for each in summary.bins) == 100


def test_one_length() -> None:
    summary = LengthSummary.of([7])
    assert summary.to_json() == {
        **dict.fromkeys(("shortest", "mean", "longest", "p50", "p90", "p95", "p99"), 7),
        "histogram": [[6, 7, 1]],
    }
