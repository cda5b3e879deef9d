"""Curves as SVG."""

import re
from xml.etree import ElementTree as ET

import pytest

from local_mode.charts import chart, thinned


def test_a_chart_is_well_formed_and_names_its_curves() -> None:
    made = chart("loss <train>", {"algo-1": [(0, 1.0), (10, 0.5)], "algo-2": [(0, 2.0), (10, 0.1)]})

    figure = ET.fromstring(made)
    assert "".join(figure.itertext()).startswith("loss <train>algo-1algo-2")
    assert len(figure.findall(".//polyline")) == 2
    assert {text.text for text in figure.iter("text")} == {"2", "0.1", "0 s", "10 s"}


def test_the_first_point_is_on_the_left_and_the_highest_at_the_top() -> None:
    drawn = re.search(r'points="([^"]*)"', chart("a", {"": [(0, 5.0), (4, 10.0), (8, 0.0)]}))

    assert drawn
    assert drawn[1] == "64.0,83.0 348.0,10.0 632.0,156.0"


@pytest.mark.parametrize("curve", [[(3.0, 7.0)], [(0.0, 7.0), (1.0, 7.0)]])
def test_one_point_and_a_flat_curve_can_be_drawn(curve: list[tuple[float, float]]) -> None:
    ET.fromstring(chart("a", {"b": curve}))


def test_nothing_is_no_chart() -> None:
    assert chart("a", {}) == chart("a", {"b": []}) == ""


def test_a_long_curve_keeps_its_peaks() -> None:
    curve = [(float(at), 1.0) for at in range(100_000)]
    curve[50_001] = (50_001.0, 9.0)
    curve[70_003] = (70_003.0, -9.0)

    found = thinned(curve)

    assert len(found) <= 600
    assert {(50_001.0, 9.0), (70_003.0, -9.0)} <= set(found)
    assert found == sorted(found)
