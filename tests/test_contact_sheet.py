"""The contact sheet: its size, its images and its histograms."""

import unicodedata

import numpy as np
import pytest
import torch
from PIL import ImageDraw

import fastnorm
from fastnorm.cli import contact_sheet, fonts

TARGETS = (
    fastnorm.Target(fastnorm.VAE, 16, crop=16),
    fastnorm.Target(fastnorm.CLIP, 8, resample="bicubic", crop=fastnorm.Crop(8, "transformers")),
)
NORMALIZATIONS = (fastnorm.VAE, fastnorm.CLIP)
SAME = contact_sheet.Verdict(0, 76_800, "torchvision 0.29.1 and transformers 5.24.0")


def noise(height, width):
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def row(name="image.jpg", height=20, width=31):
    pixels = noise(height, width)
    return contact_sheet.Row.of(name, pixels, fastnorm.fused_preprocess(pixels, TARGETS))


@pytest.mark.parametrize("count", [1, 3])
def test_the_sheet_has_one_row_per_image(count):
    sheet = contact_sheet.draw([row()] * count, TARGETS, "title", "subtitle", SAME)
    height = contact_sheet.HEADER + count * contact_sheet.ROW + contact_sheet.FOOTER
    assert sheet.size == (contact_sheet.WIDTH, height)
    rows = np.asarray(sheet)[contact_sheet.HEADER : height - contact_sheet.FOOTER]
    rows = rows.reshape(count, contact_sheet.ROW, contact_sheet.WIDTH, 3)
    assert (rows == rows[0]).all()
    assert rows[0].std() > 20, "something is drawn"


@pytest.mark.parametrize(("height", "width"), [(20, 31), (700, 200), (1, 900), (900, 1), (224, 300), (16, 16)])
def test_the_whole_image_is_shown_within_its_panel(height, width):
    image = row(height=height, width=width).image
    assert image.width == contact_sheet.SOURCE or image.height == contact_sheet.THUMB
    assert image.width <= contact_sheet.SOURCE
    assert image.height <= contact_sheet.THUMB
    shorter = min(image.size)
    assert shorter == 1 or abs(image.width / image.height - width / height) < width / height / shorter


def test_a_row_keeps_no_view_of_the_batch():
    pixels, tensors = noise(20, 31), [torch.zeros(4, 3, 16, 16), torch.zeros(4, 3, 8, 8)]
    kept = contact_sheet.Row.of("a.jpg", pixels, [tensor[1] for tensor in tensors])
    assert kept.size == (20, 31)
    assert [tensor.untyped_storage().nbytes() for tensor in kept.tensors] == [3 * 16 * 16 * 4, 3 * 8 * 8 * 4]


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "line\nbreak.jpg", "undecodable \udcff.jpg", "写真 é.jpg"])
def test_any_file_name_can_be_drawn(name):
    plain = contact_sheet.draw([row("a.jpg")], TARGETS, "title", "subtitle", SAME)
    drawn = contact_sheet.draw([row(name)], TARGETS, "title", "subtitle", SAME)
    assert drawn.size == plain.size
    top = contact_sheet.HEADER + contact_sheet.CAPTION
    assert np.array_equal(np.asarray(drawn)[top:], np.asarray(plain)[top:]), "a caption stays in its place"


def only_pillow_s(monkeypatch):
    """As on a machine without matplotlib and without fonts."""
    monkeypatch.setattr(fonts, "FILES", ("no such font.ttf",))
    monkeypatch.setattr(fonts, "_of_matplotlib", list)


@pytest.mark.parametrize("name", ["Größe é Ж.jpg", "ASCII.jpg", "e\u0301.jpg", "שלום.png"])
def test_a_name_is_drawn_in_a_font_that_has_its_characters(name):
    """DejaVu Sans comes with matplotlib."""
    drawn, font = fonts.lettered(name, 14)
    assert drawn == unicodedata.normalize("NFC", name)
    assert font.getname()[0] == ("Aileron" if name.isascii() else "DejaVu Sans")


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("Größe é.jpg", "Gro\\xdfe e.jpg"),
        ("写真.jpg", "\\u5199\\u771f.jpg"),
        ("\U0001f600.jpg", "\\U0001f600.jpg"),
        ("undecodable \udcff.jpg", "undecodable \\udcff.jpg"),
        ("a\u00a0b", "a b"),
    ],
)
def test_without_such_a_font_characters_are_spelled_out_and_never_drawn_as_boxes(name, spelled, monkeypatch):
    only_pillow_s(monkeypatch)
    drawn, font = fonts.lettered(name, 14)
    assert drawn == spelled
    assert font.getname()[0] == "Aileron"


def test_the_font_that_lacks_the_fewest_characters_is_taken(monkeypatch):
    monkeypatch.setattr(fonts, "FILES", ())
    drawn, font = fonts.lettered("é Ж 写.jpg", 14)
    assert drawn == "é Ж \\u5199.jpg"
    assert font.getname()[0] == "DejaVu Sans"


@pytest.mark.parametrize("differing", [0, 3])
def test_what_the_comparison_found_is_the_largest_text_and_coloured(differing, monkeypatch):
    texts = []
    right = ImageDraw.ImageDraw.text

    def text(pen, at, shown, ink, font, **options):
        texts.append((shown, ink, font.size))
        right(pen, at, shown, ink, font, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    contact_sheet.draw([row()], TARGETS, "title", "subtitle", SAME._replace(differing=differing))
    (found,) = ((ink, size) for shown, ink, size in texts if shown == f"{differing} of 76,800 values differ")
    assert found[1] == max(size for _, _, size in texts)
    red, green, _ = found[0]
    assert (green > red) == (differing == 0)
    assert any(shown.startswith("from torchvision 0.29.1") for shown, _, _ in texts)


def test_the_vae_tensor_is_displayed_as_its_pixels():
    pixels = noise(16, 16)
    (vae,) = fastnorm.fused_normalize(pixels, [fastnorm.VAE], layout="HWC")
    shown = contact_sheet.displayed(vae, contact_sheet.Span.of(fastnorm.VAE))
    assert np.array_equal(np.asarray(shown), pixels.numpy())


def test_clips_black_and_white_are_tinted_and_in_range():
    codes = torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1).expand(1, 2, 3)
    (clip,) = fastnorm.fused_normalize(codes, [fastnorm.CLIP], layout="HWC")
    black, white = np.asarray(contact_sheet.displayed(clip, contact_sheet.Span.of(fastnorm.CLIP)))[0].tolist()
    assert black[0] == 0 < black[1] < black[2]
    assert white[0] < white[1] < white[2] == 255


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("target", NORMALIZATIONS, ids=lambda t: t.name)
def test_every_bin_of_the_histogram_holds_four_codes(target, dtype):
    codes = torch.arange(256, dtype=torch.uint8).view(16, 16, 1).expand(16, 16, 3)
    (tensor,) = fastnorm.fused_normalize(codes, [target], dtype=dtype, layout="HWC")
    counts = contact_sheet.histogram(tensor, contact_sheet.Span.of(target))
    assert counts.sum(1).tolist() == [256, 256, 256]
    if dtype is not torch.bfloat16:  # whose values near 2 lie further apart than codes
        assert (counts == 4).all()
