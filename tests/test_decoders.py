"""docs/decoders.md says which decoders give Pillow's pixels; `python tests/decoders.py` prints its table anew.

Run with `--loops`, where the extra `loops` is installed.
"""

import io
import pathlib

import numpy as np
import pytest
import torch
from PIL import Image

import decoders
import fastnorm

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "decoders.md"

pytestmark = [
    pytest.mark.loops,
    pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities of TorchVision:DeprecationWarning"),
]


def test_the_page_has_a_row_for_every_decoder():
    """Where torchcodec is not installed, its row is not looked at."""
    page = PAGE.read_text(encoding="utf-8")
    assert [row for row in decoders.table().splitlines() if row not in page] == []


def test_the_files_are_what_their_names_say():
    opened = {name: Image.open(io.BytesIO(data)) for name, data in decoders.files().items()}
    assert {name: image.mode for name, image in opened.items() if image.mode != "RGB"} == {
        "grayscale": "L",
        "CMYK": "CMYK",
    }
    assert [name for name, image in opened.items() if image.info.get("progressive")] == ["progressive"]
    assert [name for name, image in opened.items() if image.getexif()] == ["EXIF 6"]
    layers = {name: [layer[1:3] for layer in image.layer] for name, image in opened.items()}
    assert layers["4:2:0"] == [(2, 2), (1, 1), (1, 1)]
    assert layers["4:4:4"] == [(1, 1)] * 3
    assert all(side % 2 for side in opened["odd sides"].size)


def test_an_outcome_tells_what_differs():
    data = decoders.files()["EXIF 6"]
    stored = np.array(Image.open(io.BytesIO(data)))
    turned = np.rot90(stored, -1)
    for pixels, expected in (
        (stored, "equal"),
        (stored[..., ::-1], "BGR"),
        (turned, "turned upright"),
        (turned[..., ::-1], "turned upright, BGR"),
        (stored - (stored > 100), "up to 1 off"),
        (stored[:-1], "63 x 96 x 3"),
    ):
        assert decoders.outcome(lambda _, pixels=pixels: pixels, data) == expected


@pytest.mark.parametrize("kind", ["4:2:0", "4:4:4", "progressive", "odd sides", "EXIF 6"])
def test_colour_files_that_torchvision_and_simplejpeg_decode_become_the_same_tensors(kind):
    data = decoders.files()[kind]
    (expected,) = fastnorm.fused_preprocess([Image.open(io.BytesIO(data))], [fastnorm.CLIP_224])
    for name in ("torchvision `decode_jpeg(mode=RGB)`", "simplejpeg `decode_jpeg`"):
        pixels = decoders.decoders()[name](data)
        (ours,) = fastnorm.fused_preprocess([pixels], [fastnorm.CLIP_224])
        assert torch.equal(ours, expected)
