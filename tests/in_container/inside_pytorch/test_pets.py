"""What the Pets scripts read, resize, keep and export, in the image's own copy of them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

PETS = Path("/opt/ml/code/pets")


@pytest.fixture(scope="module", autouse=True)
def _siblings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PETS))
        known = set(sys.modules)
        yield
        for each in set(sys.modules) - known:
            patch.delitem(sys.modules, each)


def picture(path: Path, width: int, height: int, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")  # a .jpg by name alone, so that nothing is lost
    return pixels


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    """Six images of three classes."""
    entries = []
    for number in range(6):
        picture(tmp_path / "a" / f"{number}.jpg", 40 + number, 50 - number, number)
        entries.append({"file": f"a/{number}.jpg", "label": number % 3, "id": 100 + number})
    (tmp_path / "split.json").write_text(json.dumps({"classes": ["x", "y", "z"], "images": entries}))
    return tmp_path


def change(channel: Path, **entry: Any) -> None:
    listing = json.loads((channel / "split.json").read_text())
    listing["images"][0] |= entry
    (channel / "split.json").write_text(json.dumps(listing))


@pytest.mark.parametrize(("width", "height"), [(200, 120), (97, 200), (64, 64), (20, 30)])
def test_the_central_square_is_resized_as_pil_does_it(width: int, height: int) -> None:
    from preprocessing import central_square, resized  # noqa: PLC0415

    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1).float()
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2

    ours = resized(image, central_square(image), 48).permute(1, 2, 0).numpy()
    box = (left, top, left + side, top + side)
    by_pil = np.asarray(Image.fromarray(pixels).resize((48, 48), Image.Resampling.BILINEAR, box=box)).astype(float)

    # Off the edge of the box, beyond which PIL does not look, but for rounding to whole values.
    assert np.abs(ours - by_pil)[2:-2, 2:-2].max() <= 1


def test_an_example_is_the_same_whenever_it_is_asked_for_and_another_in_another_epoch(channel: Path) -> None:
    from data import Examples, listed  # noqa: PLC0415

    examples = Examples(listed(channel), 16, augment=True, seed=3)

    first, label, number = examples[(0, 4)]
    again, _, _ = examples[(0, 4)]
    later, _, _ = examples[(1, 4)]
    assert (tuple(first.shape), label, number) == ((3, 16, 16), 1, 104)
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert (first.min() >= 0, first.max() <= 255) == (True, True)


def test_validation_sees_the_image_as_it_is_served(channel: Path) -> None:
    from data import Examples, listed  # noqa: PLC0415
    from model import Served  # noqa: PLC0415

    image, _, _ = Examples(listed(channel), 16)[(0, 2)]
    pixels = np.asarray(Image.open(channel / "a" / "2.jpg"))[None]

    served = Served(torch.nn.Flatten(), 16)(torch.from_numpy(pixels.copy()))
    assert torch.allclose(served, image.flatten()[None].softmax(1), atol=1e-6)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"label": 3}, r"a/0.jpg of .* has the label 3: there are 3 classes"),
        ({"label": -1}, r"has the label -1: there are 3 classes"),
    ],
)
def test_a_class_out_of_range_is_refused_in_words(channel: Path, entry: dict[str, Any], words: str) -> None:
    from data import listed  # noqa: PLC0415

    change(channel, **entry)

    with pytest.raises(ValueError, match=words):
        listed(channel)


def test_a_channel_without_a_listing_or_without_an_image_is_refused_in_words(channel: Path) -> None:
    from data import listed  # noqa: PLC0415

    (channel / "split.json").write_text(json.dumps({"classes": ["x"], "images": []}))
    with pytest.raises(ValueError, match="holds no image"):
        listed(channel)
    (channel / "split.json").unlink()
    with pytest.raises(ValueError, match=r"there is no split.json in the channel"):
        listed(channel)


def test_each_rank_tries_its_part_and_all_leave_out_the_same_images(
    channel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from data import listed, readable  # noqa: PLC0415
    from sharing import Share  # noqa: PLC0415

    images = listed(channel)
    (channel / "a" / "1.jpg").write_bytes(b"no image")
    content = (channel / "a" / "4.jpg").read_bytes()
    (channel / "a" / "4.jpg").write_bytes(content[: len(content) // 2])
    (channel / "a" / "5.jpg").unlink()
    found: list[torch.Tensor] = []

    def keep(bad: torch.Tensor) -> torch.Tensor:
        found.append(bad)
        return bad

    for rank in range(2):
        readable(images, Share(rank, 2), keep, skip_corrupt=True)
    left = readable(images, Share(0, 2), lambda _: sum(found), skip_corrupt=True)

    assert [bad.tolist() for bad in found] == [[0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1]]
    assert left.ids.tolist() == [100, 102, 103]
    assert f"skipped: 3 of 6 images can't be decoded: {channel}/a/1.jpg, {channel}/a/4.jpg" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"3 of 6 images can't be decoded: .*a/1.jpg"):
        readable(images, Share(0, 2), lambda _: sum(found))


def test_fewer_images_than_ranks_are_refused_in_words(channel: Path) -> None:
    from data import listed, training_batches, validation_batches  # noqa: PLC0415
    from sharing import Share  # noqa: PLC0415

    args = SimpleNamespace(batch_size=1, size=8, seed=1, epochs=1, augment=False, workers=0)
    images = listed(channel)

    with pytest.raises(ValueError, match=r"6 images are too few for one step: 8 rank\(s\)"):
        training_batches(images, Share(0, 8), args)
    with pytest.raises(ValueError, match="6 images to validate are fewer than the 8 ranks"):
        validation_batches(images, Share(0, 8), args)


def test_the_last_three_checkpoints_are_kept_and_one_of_another_model_is_refused(tmp_path: Path) -> None:
    from resuming import Checkpoints  # noqa: PLC0415

    narrow, wide = torch.nn.Linear(2, 1), torch.nn.Linear(3, 1)
    checkpoints = Checkpoints(tmp_path / "new", model=narrow)
    assert checkpoints.latest() is None
    for epoch in range(1, 6):
        checkpoints.save(epoch)

    other = torch.nn.Linear(2, 1)
    assert Checkpoints(tmp_path / "new", model=other).restore(checkpoints.latest()) == 5
    assert torch.equal(other.weight, narrow.weight)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [f"epoch-00{n}.pt" for n in (3, 4, 5)]
    with pytest.raises(ValueError, match=r"epoch-005.pt is a checkpoint of another model \(size mismatch"):
        Checkpoints(tmp_path / "new", model=wide).restore(checkpoints.latest())


def test_weights_are_taken_over_but_for_the_last_layer_and_checked(tmp_path: Path) -> None:
    import torchvision  # noqa: PLC0415
    from model import build_model  # noqa: PLC0415

    published = torchvision.models.resnet18()
    torch.save(published.state_dict(), tmp_path / "resnet18.pth")
    torch.save(published.state_dict(), tmp_path / "resnet18-00000000.pth")

    def asked(model: str, weights: str) -> SimpleNamespace:
        return SimpleNamespace(model=model, weights=weights, weights_dir=str(tmp_path))

    taken = build_model(asked("resnet18", "resnet18.pth"), 37).network
    assert torch.equal(taken.conv1.weight, published.conv1.weight)
    assert taken.fc.weight.shape == (37, 512)
    for model, weights, words in (
        ("resnet50", "resnet18.pth", "holds the weights of another network than resnet50"),
        ("resnet18", "none.pth", "there are no weights"),
        ("resnet18", "resnet18-00000000.pth", "is not the file it was"),
    ):
        with pytest.raises(ValueError, match=words):
            build_model(asked(model, weights), 37)
