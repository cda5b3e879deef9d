"""Curves as SVG, for a page that holds everything it shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

_WIDTH, _HEIGHT = 640, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 10, 24
_MOST = 600
"""Points a curve is drawn with: about one for each of its pixels."""
_COLOURS = ("#2a78d6", "#d95926", "#1f9d62", "#9a5bd2", "#c2922a", "#cc4478", "#1f97a6", "#7a7f87")


@dataclass(frozen=True)
class _Scale:
    """From values to pixels."""

    left: float
    right: float
    low: float
    high: float

    def x(self, value: float) -> float:
        return _LEFT + (value - self.left) / (self.right - self.left or 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - self.low) / (self.high - self.low or 1) * (_HEIGHT - _TOP - _BOTTOM)


def chart(title: str, curves: Mapping[str, Sequence[Point]], *, from_zero: bool = False) -> str:
    """An <svg> of curves of (seconds since the start, value), with their names; empty where there is no point."""
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return ""
    values = [value for _, value in points]
    low, high = min(values), max(values)
    low = min(low, 0) if from_zero else low
    scale = _Scale(0, max(at for at, _ in points), low, high if high > low else low + 1)
    drawn = "".join(
        f'<polyline fill="none" stroke="{_colour(number)}" stroke-width="1.5" points="{_path(curve, scale)}"/>'
        if len(curve) > 1
        else _dot(curve, number, scale)
        for number, curve in enumerate(curves.values())
    )
    names = "".join(
        f'<span><i style="background:{_colour(number)}"></i>{escape(name)}</span>'
        for number, name in enumerate(curves)
        if len(curves) > 1
    )
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}"'
    caption = f'<figcaption>{escape(title)}<span class="names">{names}</span></figcaption>'
    return f"<figure>{caption}<svg {box}>{_axes(scale)}{drawn}</svg></figure>"


def thinned(curve: Sequence[Point], most: int = _MOST) -> list[Point]:
    """A curve of at most `most` points that keeps every stretch's lowest and highest."""
    if len(curve) <= most:
        return list(curve)
    step = -(-len(curve) * 2 // most)
    found = []
    for start in range(0, len(curve), step):
        stretch = range(start, min(start + step, len(curve)))
        low, high = min(stretch, key=lambda i: curve[i][1]), max(stretch, key=lambda i: curve[i][1])
        found += [curve[number] for number in sorted({low, high})]
    return found


def _path(curve: Sequence[Point], scale: _Scale) -> str:
    return " ".join(f"{scale.x(at):.1f},{scale.y(value):.1f}" for at, value in thinned(curve))


def _dot(curve: Sequence[Point], number: int, scale: _Scale) -> str:
    return "".join(
        f'<circle fill="{_colour(number)}" r="3" cx="{scale.x(at):.1f}" cy="{scale.y(value):.1f}"/>'
        for at, value in curve
    )


def _axes(scale: _Scale) -> str:
    ends = ((scale.high, scale.y(scale.high)), (scale.low, scale.y(scale.low)))
    lines = "".join(
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>'
        for value, y in ends
    )
    return (
        f'{lines}<text x="{_LEFT}" y="{_HEIGHT - 6}">0 s</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{scale.right:,.0f} s</text>'
    )


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
