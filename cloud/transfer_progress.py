"""How far the engine is with sending or fetching an image, for a person."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TextIO

from cloud.engine_images import Step

if TYPE_CHECKING:
    from tqdm import tqdm

_MOVES = ("Pushing", "Downloading")
_THERE = ("Layer already exists", "Already exists", "Mounted from")
_DONE = ("Pushed", "Pull complete")


@dataclass
class _Layer:
    """Bytes of a layer, unpacked as the engine counts them, and the last that was told of it."""

    moved: int = 0
    size: int = 0
    told: str = ""


class TransferProgress:
    """A bar on a terminal, a line for every layer elsewhere."""

    def __init__(self, verb: str, stream: TextIO) -> None:
        self._verb = verb
        self._stream = stream
        self._layers: dict[str, _Layer] = {}
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def says(self, text: str) -> None:
        """A line of its own, above the bar where there is one."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
            return
        # Where nobody reads any more, the image is wanted all the same.
        with suppress(BrokenPipeError):
            print(text, file=self._stream, flush=True)

    def step(self, step: Step) -> None:
        """What the engine told."""
        status, name = str(step.get("status", "")), str(step.get("id", ""))
        if not name or "progressDetail" not in step:
            return
        layer = self._layers.setdefault(name, _Layer())
        detail = step["progressDetail"] or {}
        if status in _MOVES and detail.get("total"):
            layer.size = int(detail["total"])
            layer.moved = min(int(detail.get("current", 0)), layer.size)
        elif status in _DONE:
            layer.moved = layer.size
        if self._stream.isatty():
            self._draw()
        elif text := _line(status, layer):
            self.says(f"{self._verb}: layer {name}: {text}")
        layer.told = status.partition(" in ")[0]

    def _draw(self) -> None:
        """The engine tells a layer's size when it comes to it, so what is to do grows."""
        if self._bar is None:
            # A twentieth of a second to import, and often nothing is sent.
            from tqdm import tqdm  # noqa: PLC0415

            self._bar = tqdm(
                desc=self._verb, unit="B", unit_scale=True, file=self._stream, leave=False, dynamic_ncols=True
            )
        self._bar.total = sum(layer.size for layer in self._layers.values()) or None
        self._bar.n = sum(layer.moved for layer in self._layers.values())
        self._bar.refresh()


def _line(status: str, layer: _Layer) -> str:
    """What is worth a line: once for each layer, and for each time that it is tried again."""
    if status.startswith(_THERE):
        return "there already"
    if status in _DONE:
        return f"{layer.size / 1e6:,.1f} MB"
    if status.startswith("Retrying") and layer.told != "Retrying":
        return "the way broke off, tried again"
    return ""
