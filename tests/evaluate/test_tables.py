"""Tables in Markdown: what stands in a cell stays there."""

from inkstone.evaluate.tables import estimate, number, table


def test_cells_stay_cells() -> None:
    assert table(["", "墨"], [["a|b\nc", "1"]]) == "|  | 墨 |\n| --- | ---: |\n| a\\|b c | 1 |"


def test_numbers_have_four_digits() -> None:
    assert [number(value) for value in (None, 0.12345, -12.345)] == ["–", "0.1235", "-12.35"]
    assert estimate({"value": 0.5, "low": 0.25, "high": None}) == "0.5000 (0.2500 to –)"
    assert estimate({"value": 0.5, "low": None, "high": None}) == "0.5000"
