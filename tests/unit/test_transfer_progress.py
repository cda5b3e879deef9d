"""What a person sees of an image on its way."""

import io
from typing import Any

from cloud.transfer_progress import TransferProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_step(status: str, layer: str = "ab12", current: int = 0, total: int = 0) -> dict[str, Any]:
    return {"status": status, "id": layer, "progressDetail": {"current": current, "total": total} if total else {}}


STEPS = [
    {"status": "The push refers to repository [host/image]"},
    a_step("Preparing"),
    a_step("Layer already exists", "cd34"),
    a_step("Pushing", current=1_000_000, total=2_000_000),
    *(a_step(f"Retrying in {seconds} seconds") for seconds in (3, 2, 1)),
    a_step("Pushing", current=2_500_000, total=2_000_000),
    a_step("Pushed"),
    {"status": "1: digest: sha256:00 size: 1"},
    {"progressDetail": {}, "aux": {"Digest": "sha256:00"}},
]


def test_elsewhere_than_on_a_terminal_every_layer_has_its_line() -> None:
    stream = io.StringIO()

    with TransferProgress("push", stream) as progress:
        for step in STEPS:
            progress.step(step)

    assert stream.getvalue().splitlines() == [
        "push: layer cd34: there already",
        "push: layer ab12: the way broke off, tried again",
        "push: layer ab12: 2.0 MB",
    ]


def test_on_a_terminal_there_is_a_bar_which_goes(capsys: Any) -> None:
    stream = Terminal()

    with TransferProgress("push", stream) as progress:
        for step in STEPS:
            progress.step(step)
        assert "2.00M/2.00M" in stream.getvalue()
        progress.says("a line")

    assert "a line\n" in stream.getvalue()
    assert stream.getvalue().endswith("\r")
    assert capsys.readouterr() == ("", "")


def test_a_reader_who_has_gone_does_not_end_the_push() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    with TransferProgress("push", Gone()) as progress:
        progress.step(STEPS[2])
