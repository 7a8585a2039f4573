"""What fused_preprocess refuses: a message says what was given and expected, what fixes it, and which image."""

import numpy as np
import pytest
import torch
from PIL import Image

import fastnorm
from fastnorm import (
    CLIP,
    CLIP_224,
    VAE,
    VAE_512,
    Area,
    Border,
    Buckets,
    Crop,
    Halve,
    PackedImages,
    Pad,
    Resize,
    Sides,
    Square,
    Target,
)
from fastnorm.spec.size import MAX_PIXELS
from helpers import random_pixels

GOOD = random_pixels(30, 40, 3)
SMALL = Target(VAE, size=8, crop=8)


def call(*bad, target=SMALL, **options):
    """A call with one good image before the bad ones."""
    return lambda: fastnorm.fused_preprocess([GOOD, *bad], [target], **options)


class Unhashable:
    __hash__ = None

    def __call__(self, height, width):
        return height, width


def options(**options):
    return lambda: fastnorm.fused_dual_preprocess([GOOD], **options)


REFUSED = [
    # images
    ("a float tensor", call(GOOD / 255), TypeError, "images[1]: got float32", "(images[1] * 255).round()"),
    ("a float array", call(GOOD.numpy() / 255), TypeError, "images[1]: got float64", "already scaled"),
    ("RGBA", call(random_pixels(9, 9, 4)), ValueError, "images[1]: got uint8 of shape (9, 9, 4)", "images[1][..., :3]"),
    ("grayscale", call(random_pixels(9, 9)), ValueError, "images[1]", "images[1].unsqueeze(-1)"),
    ("a batch in a list", call(GOOD[None]), ValueError, "images[1]: got 4 axes", "goes in by itself"),
    ("ambiguous", call(random_pixels(3, 9, 3)), ValueError, "images[1]", "layout='NHWC'"),
    ("a string", call("cat.jpg"), TypeError, "images[1]: got str", "PIL.Image.open(images[1])"),
    ("bytes", call(b"\xff\xd8"), TypeError, "images[1]: got bytes", "PIL.Image.open(io.BytesIO(images[1]))"),
    ("a sample", call({"image": GOOD}), TypeError, "images[1]: got dict", "images[1]['image']"),
    (
        "a batch of samples",
        lambda: fastnorm.fused_preprocess({"jpg": GOOD}, [SMALL]),
        TypeError,
        "dict",
        "images['image']",
    ),
    (
        "a ragged array of objects",
        lambda: fastnorm.fused_preprocess(np.array([GOOD.numpy(), None], dtype=object), [SMALL]),
        TypeError,
        "images: got an array of 2 objects",
        "list(images)",
    ),
    ("a string by itself", lambda: fastnorm.fused_preprocess("cat.jpg", [SMALL]), TypeError, "images: got str", "PIL"),
    (
        "a PIL image without rows",
        call(Image.new("RGB", (5, 0))),
        ValueError,
        "images[1]: got 0 x 5 pixels",
        "remove it from the list",
    ),
    (
        "a transparent one",
        call(Image.new("RGBA", (5, 0))),
        ValueError,
        "images[1]: got 0 x 5 pixels",
        "remove it from the list",
    ),
    ("no rows", call(GOOD[:0]), ValueError, "images[1]: got 0 x 40 pixels", "at least one on each side"),
    (
        "no columns in a batch",
        lambda: fastnorm.fused_preprocess(GOOD[None, :, :0], [SMALL]),
        ValueError,
        "30 x 0",
        "one",
    ),
    ("two devices", call(GOOD.to("meta")), ValueError, "images[1]: on meta", "PackedImages.pack(images).to(device)"),
    ("transparent", call(Image.new("RGBA", (9, 9))), ValueError, "images[1]: got transparent", "alpha='white'"),
    ("16-bit", call(Image.new("I;16", (9, 9))), ValueError, "images[1]: got 16-bit", "// 257"),
    (
        "16-bit in a single image",
        lambda: fastnorm.fused_preprocess(Image.new("I;16", (9, 9)), [SMALL]),
        ValueError,
        "the image: got 16-bit",
        "// 257",
    ),
    (
        "a strip",
        call(GOOD[:1, :1].expand(1, 60_000, 3), target=Target(VAE, size=512)),
        ValueError,
        "images[1] of 1 x 60000 pixels would become 512 x 30720000",
        "crop it first",
    ),
    (
        "two sizes in one batch",
        call(GOOD[1:], target=Target(VAE)),
        ValueError,
        "images[0] becomes 30 x 40 and images[1] 29 x 40",
        "crop=...",
    ),
    (
        "no images and no size",
        lambda: fastnorm.fused_preprocess([], [Target(VAE, 8)]),
        ValueError,
        "targets[0]: got no images",
        "a crop",
    ),
    (
        "too small without padding",
        call(GOOD[:7], target=Target(VAE, crop=8, pad=False)),
        ValueError,
        "images[1] becomes 7 x 40, smaller than the crop of 8 x 8",
        "pad=True",
    ),
    # options
    ("layout", call(layout="HCW"), ValueError, "layout: got 'HCW'", "'NHWC'"),
    ("alpha", call(alpha="black"), ValueError, "alpha: got 'black'", "'white'"),
    ("a target's alpha", lambda: Target(CLIP, alpha="black"), ValueError, "alpha: got 'black'", "'white'"),
    (
        "alpha that no target takes",
        call(alpha="black", target=Target(VAE, size=8, crop=8, alpha="drop")),
        ValueError,
        "alpha: got 'black'",
        "'white'",
    ),
    ("exif", call(exif=True), ValueError, "exif: got True", "'apply'"),
    ("pillow", options(pillow_version="new"), ValueError, "pillow_version: got 'new'", "pillow_version='13'"),
    ("pillow as a number", options(pillow_version=12), TypeError, "pillow_version: got int", "'13'"),
    (
        "flip of another length",
        options(flip=[True, False]),
        ValueError,
        "flip: got 2 values for 1 images",
        "one per image",
    ),
    ("flip of numbers", options(flip=[0.3]), TypeError, "flip: got 0.3", "True or False"),
    (
        "flip_before_crop as a word",
        options(flip_before_crop="no"),
        TypeError,
        "flip_before_crop: got 'no'",
        "True or False",
    ),
    (
        "flip_before_crop as a number",
        options(flip_before_crop=0),
        TypeError,
        "flip_before_crop: got 0",
        "True or False",
    ),
    ("offsets as a word", options(return_offsets="no"), TypeError, "return_offsets: got 'no'", "True or False"),
    ("flip of another word", options(flip="maybe"), TypeError, "flip: got str", "'random'"),
    ("flip of another kind", options(flip="left"), TypeError, "flip: got str", "True"),
    # targets
    ("no targets", lambda: fastnorm.fused_preprocess([GOOD], []), ValueError, "targets: got an empty list", "CLIP_224"),
    ("one target", lambda: fastnorm.fused_preprocess([GOOD], SMALL), TypeError, "got one Target", "[it]"),
    ("a preset's name", lambda: fastnorm.fused_preprocess([GOOD], "clip"), TypeError, "targets: got str", "CLIP_224"),
    (
        "a normalisation",
        lambda: fastnorm.fused_preprocess([GOOD], [SMALL, CLIP]),
        TypeError,
        "targets[1]: got a Normalization",
        "fastnorm.Target(it",
    ),
    ("a normalisation by name", options(vae=VAE), TypeError, "vae: got a Normalization", "fastnorm.Target(it"),
    ("a target of another kind", options(clip=224), TypeError, "clip: got int", "CLIP_224"),
    ("no normalisation", lambda: Target("clip"), TypeError, "normalization: got the string 'clip'", "fastnorm.CLIP"),
    ("size 0", lambda: Target(CLIP, 0), ValueError, "size: got 0", "at least one pixel"),
    ("size of three", lambda: Target(CLIP, (1, 2, 3)), TypeError, "size: got (1, 2, 3)", "(height, width)"),
    ("size as float", lambda: Target(CLIP, 224.0), TypeError, "size: got 224.0", "number of pixels"),
    ("size as floats", lambda: Target(CLIP, (224.0, 3)), TypeError, "size: got (224.0, 3)", "whole numbers"),
    ("size as bool", lambda: Target(CLIP, True), TypeError, "size: got True", "number of pixels"),
    ("an absurd size", lambda: Target(CLIP, 10**6), ValueError, "size: got 1000000", f"{MAX_PIXELS:,}"),
    (
        "an absurd crop",
        lambda: Target(CLIP, 8, crop=(10**6, 10**6)),
        ValueError,
        "crop: got (1000000, 1000000)",
        f"{MAX_PIXELS:,}",
    ),
    ("another nearest", lambda: Target(CLIP, 8, "nearest-exact"), ValueError, "resample: got 'nearest-exact'", "'box'"),
    ("a filter's number", lambda: Target(CLIP, 8, 6), ValueError, "resample: got '6'", "'bicubic'"),
    (
        "a size as transformers spells it, without its meaning",
        lambda: Target(CLIP, {"longest_edge": 8}),
        ValueError,
        "size: got {'longest_edge': 8}",
        "shortest_edge",
    ),
    (
        "a crop as transformers spells it",
        lambda: Target(CLIP, 8, crop={"height": 7, "width": 8}),
        TypeError,
        "crop: got {'height': 7, 'width': 8}",
        "Crop((7, 8), 'transformers')",
    ),
    (
        "a crop without any size",
        lambda: Target(CLIP, crop=Crop()),
        ValueError,
        "crop: got a Crop without a size",
        "Crop(224)",
    ),
    ("pad", lambda: Target(CLIP, pad="zeros"), TypeError, "pad: got str", "True"),
    ("dtype", lambda: Target(CLIP, dtype=torch.float64), ValueError, "dtype: got torch.float64", "torch.bfloat16"),
    (
        "memory format",
        lambda: Target(CLIP, memory_format=torch.channels_last_3d),
        ValueError,
        "memory_format",
        "channels_last",
    ),
    ("out by itself", call(out=torch.zeros(1, 3, 8, 8)), TypeError, "out: got Tensor", "a list of 1, one per target"),
    ("out of another kind", call(out=[GOOD.numpy()]), TypeError, "out[0]: got ndarray", "torch.Tensor, or None"),
    ("too many outs", call(out=[None, None]), ValueError, "out: got 2 for 1 target(s)", "or None"),
    ("a device of another kind", call(device=0), TypeError, "device: got int", "'cuda'"),
    ("a device that does not exist", call(device="nonsense"), ValueError, "device: got 'nonsense'", "of this machine"),
    ("a call's dtype", call(dtype=torch.int8), ValueError, "dtype: got torch.int8", "torch.bfloat16"),
    ("an unknown place", lambda: Crop(8, "left"), ValueError, "position: got 'left'", "'transformers'"),
    ("a place of another kind", lambda: Crop(8, 5), TypeError, "position: got int", "(top, left)"),
    ("a place of three numbers", lambda: Crop(8, (1, 2, 3)), TypeError, "position: got (1, 2, 3)", "(top, left)"),
    ("a place in floats", lambda: Crop(8, (1, 2.5)), TypeError, "position: got (1, 2.5)", "whole numbers"),
    ("a place per image", lambda: Crop(8, [(0, 0), (1, 1)]), TypeError, "position: got 2 positions", "positions=["),
    (
        "a place of the call's in floats",
        call(positions=[[(1, 2.5)]]),
        TypeError,
        "positions[0][0]: got (1, 2.5)",
        "whole numbers",
    ),
    (
        "places by themselves",
        call(positions=torch.zeros(1, 2).long()),
        TypeError,
        "positions: got Tensor",
        "one per target",
    ),
    ("a number as places", call(positions=[5]), TypeError, "positions[0]: got int", "(N, 2)"),
    (
        "too few places",
        call(positions=[torch.zeros(2, 2, dtype=torch.int64)]),
        ValueError,
        "positions[0]: got 2 positions for 1 images",
        "one per image",
    ),
    (
        "places without a crop",
        call(target=Target(VAE, 8), positions=[[(0, 0)]]),
        ValueError,
        "positions[0]: got positions for a target without a crop",
        "Target(crop=...)",
    ),
    (
        "a place beyond the image",
        call(GOOD, target=Target(VAE, crop=8), positions=[[(0, 0), (30, 0)]]),
        ValueError,
        "images[1] becomes 30 x 40",
        "at least a pixel",
    ),
    (
        "a target's place beyond the image",
        call(GOOD[:5], target=Target(VAE, crop=Crop(8, (9, 0)))),
        ValueError,
        "images[1] becomes 5 x 40",
        "at least a pixel",
    ),
    # geometry
    (
        "sizes that differ",
        call(GOOD[:9], target=Target(VAE, Sides(longest=8))),
        ValueError,
        "images[0] becomes 6 x 8 and images[1] 1 x 8",
        "batch=False",
    ),
    (
        "a side that comes to nothing",
        call(GOOD[:1], target=Target(VAE, Sides(longest=8), crop=8)),
        ValueError,
        "images[1] of 1 x 40 pixels would become 0 x 8",
        "at least one on each side",
    ),
    (
        "proportions that smart_resize refuses",
        call(random_pixels(1, 201, 3), target=Target(VAE, Area(4, min_pixels=16, max_pixels=400), crop=8)),
        ValueError,
        "images[1] got sides of 1 x 201 pixels",
        "at most 200 to 1",
    ),
    (
        "a rule's fractions",
        call(target=Target(VAE, lambda height, width: (height / 2, width), crop=8)),
        TypeError,
        "30 x 40 pixels would become (15.0, 40)",
        "whole pixels",
    ),
    (
        "a rule's single number",
        call(target=Target(VAE, lambda *size: size[0], crop=8)),
        TypeError,
        "would become 30",
        "(height, width)",
    ),
    ("a rule's class", lambda: Target(VAE, Square), TypeError, "size: got the class Square", "one of its objects"),
    (
        "a rule that cannot be hashed",
        lambda: Target(VAE, crop=Crop(Unhashable())),
        TypeError,
        "crop: got",
        "a rule that can",
    ),
    (
        "more than pixels allow",
        call(target=Target(VAE, crop=Crop(lambda height, width: (height * 10**4, width * 10**4)))),
        ValueError,
        "images[0] of 30 x 40 pixels would become 300000 x 400000",
        f"{MAX_PIXELS:,}",
    ),
    ("two rules in one", lambda: Sides(longest=8, within=8), ValueError, "got longest and within", "one of shortest"),
    ("a rule of nothing", lambda: Sides(), ValueError, "got nothing to compute", "Sides(shortest=224)"),
    ("a side of 0", lambda: Sides(shortest=0), ValueError, "shortest: got 0", "1 or more"),
    ("a side in floats", lambda: Sides(longest=8.0), TypeError, "longest: got 8.0", "whole number"),
    ("another library's rule", lambda: Sides(longest=8, rule="sam"), ValueError, "rule: got 'sam'", "'timm'"),
    ("a rounding", lambda: Sides(longest=8, rounding="up"), ValueError, "rounding: got 'up'", "'half_up'"),
    (
        "both ends with timm's rule",
        lambda: Sides(shortest=8, longest=9, rule="timm"),
        ValueError,
        "got shortest and longest with rule='timm'",
        "whose own rounding",
    ),
    (
        "a limit that torchvision refuses",
        lambda: Sides(shortest=8, longest=8),
        ValueError,
        "got longest=8 for shortest=8",
        "size=(8, 8)",
    ),
    ("a limit below", lambda: Area(4, min_pixels=9, max_pixels=8), ValueError, "max_pixels: got 8", "min_pixels = 9"),
    ("no buckets", lambda: Buckets([]), ValueError, "sizes: got an empty list", "at least one"),
    ("a bucket of one number", lambda: Buckets([(8, 9, 7)]), TypeError, "sizes[0]: got (8, 9, 7)", "(height, width)"),
    ("a square of another edge", lambda: Square("width"), ValueError, "edge: got 'width'", "'shortest'"),
    ("a fraction of nothing", lambda: Square("shortest", 0), ValueError, "fraction: got 0", "0.875"),
    ("a border in floats", lambda: Border(1.5), TypeError, "top: got 1.5", "whole number"),
    ("a halving to nothing", lambda: Halve(0), ValueError, "shortest: got 0", "1 or more"),
    ("a resize to nothing", lambda: Resize(None), TypeError, "size: got None", "Resize(256)"),
    ("a fill in units", lambda: Pad(fill=(0.48, 0.46, 0.41)), TypeError, "fill: got (0.48, 0.46, 0.41)", "int(255 *"),
    ("a fill of 256", lambda: Pad(fill=256), ValueError, "fill: got 256", "0 to 255"),
    ("another mode", lambda: Pad(mode="wrap"), ValueError, "mode: got 'wrap'", "'symmetric'"),
    ("a mode with a fill", lambda: Pad(7, "edge"), ValueError, "got mode='edge' with a fill", "'constant' alone"),
    ("a fill and a value", lambda: Pad(7, value=0.0), ValueError, "got fill and value", "one"),
    ("a value that is none", lambda: Pad(value=float("nan")), ValueError, "value: got nan", "finite"),
    ("a step of another kind", lambda: Target(VAE, before=[8]), TypeError, "before[0]: got int", "Halve"),
    ("steps that are none", lambda: Target(VAE, before="halve"), TypeError, "before: got str", "or several"),
    ("a random step", lambda: Target(VAE, before=Crop(8, "random")), ValueError, "before[0]: got Crop", "one image"),
    ("a batch's step", lambda: Target(VAE, before=Crop("batch")), ValueError, "before[0]: got Crop", "one image"),
    ("a random crop by a rule", lambda: Crop(Square("shortest"), "random"), ValueError, "random position", "Crop(224"),
    ("another crop's word", lambda: Crop("square"), ValueError, "crop: got 'square'", "'batch'"),
    ("a crop of the rule's size", lambda: Target(VAE, Sides(longest=8), crop=Crop()), ValueError, "crop:", "Crop(224)"),
    ("a batch of a list", lambda: Target(VAE, crop=Crop("batch"), batch=False), ValueError, "batch=False", "padded"),
    ("a batch without padding", lambda: Target(VAE, crop=Crop("batch"), pad=False), ValueError, "pad=False", "padded"),
    ("batch", lambda: Target(VAE, batch=0), TypeError, "batch: got 0", "one per image"),
    ("a gap below 1", lambda: Target(VAE, 8, reducing_gap=0.5), ValueError, "reducing_gap: got 0.5", "1.0 or more"),
    ("a gap of another kind", lambda: Target(VAE, 8, reducing_gap="2"), TypeError, "reducing_gap: got '2'", "2.0"),
    ("a target's exif", lambda: Target(VAE, exif="rotate"), ValueError, "exif: got 'rotate'", "'apply'"),
    (
        "a value before the resize",
        call(target=Target(VAE, 8, crop=8, before=Crop(Square("longest")), pad=Pad(value=0.0))),
        ValueError,
        "images[0] is padded before it is resized",
        "Pad(fill=...)",
    ),
    (
        "a step that leaves nothing",
        call(GOOD[:9], target=Target(VAE, (8, 8), before=Border(-5))),
        ValueError,
        "images[1] of 9 x 40 pixels has none left",
        "at least one",
    ),
    (
        "a step beyond the image",
        call(GOOD[:9], target=Target(VAE, (8, 8), before=Crop(8, (10, 0)))),
        ValueError,
        "images[1] of 9 x 40 pixels has none inside",
        "at least one",
    ),
    (
        "a step that would pad",
        call(GOOD[:9], target=Target(VAE, (8, 8), before=Crop(10), pad=False)),
        ValueError,
        "images[1] becomes 9 x 40, smaller than the crop of 10 x 10",
        "pad=True",
    ),
    (
        "a box beyond the image",
        call(GOOD[:9], boxes=[[None, (0, 0, 40, 9.5)]]),
        ValueError,
        "images[1] of 9 x 40 pixels does not hold the box (left, top, right, bottom) = (0.0, 0.0, 40.0, 9.5)",
        "bottom <= height",
    ),
    ("an empty box", call(boxes=[[(3, 3, 3, 9)]]), ValueError, "images[0] of 30 x 40 pixels does not hold", "left <"),
    ("a box of words", call(boxes=[["left"]]), TypeError, "boxes[0][0]: got 'left'", "(left, top, right, bottom)"),
    ("too few boxes", call(boxes=[[]]), ValueError, "boxes[0]: got 0 for 1 images", "one (left"),
    ("sizes by themselves", call(sizes=torch.ones(1, 2)), TypeError, "sizes: got Tensor", "one per target"),
    ("a size per image in floats", call(sizes=[[(8.5, 8)]]), TypeError, "sizes[0][0]: got (8.5, 8)", "whole numbers"),
    ("a size of nothing", call(sizes=[[(0, 8)]]), ValueError, "sizes[0][0]: got (0, 8)", "at least one pixel"),
    ("a vertical flip", call(vertical_flip="up"), TypeError, "vertical_flip: got str", "'random'"),
    (
        "an out for a list",
        call(target=Target(VAE, 8, batch=False), out=[torch.zeros(1, 3, 8, 10)]),
        TypeError,
        "out[0]: got Tensor for a target with batch=False",
        "one per image",
    ),
    (
        "too few outs of a list",
        call(GOOD, target=Target(VAE, 8, batch=False), out=[[torch.zeros(3, 8, 10)]]),
        ValueError,
        "out[0]: got 1 tensors for 2 images",
        "one per image",
    ),
    (
        "an out of a list, of another shape",
        call(target=Target(VAE, 8, batch=False), out=[[torch.zeros(3, 8, 8)]]),
        ValueError,
        "out[0][0]: got shape (3, 8, 8)",
        "(3, 8, 10)",
    ),
    # out
    (
        "out of another shape",
        call(target=Target(VAE, 8, crop=8), out=[torch.zeros(2, 3, 8, 8)]),
        ValueError,
        "out[0]: got shape (2, 3, 8, 8)",
        "(1, 3, 8, 8)",
    ),
    (
        "out of another dtype",
        call(target=Target(VAE, 8, crop=8, dtype=torch.bfloat16), out=[torch.zeros(1, 3, 8, 8)]),
        ValueError,
        "out[0]: got torch.float32",
        "dtype=torch.bfloat16",
    ),
    (
        "out in float64",
        call(target=Target(VAE, 8, crop=8), out=[torch.zeros(1, 3, 8, 8).double()]),
        ValueError,
        "torch.float64",
        "torch.float32",
    ),
    (
        "out on another device",
        call(target=Target(VAE, 8, crop=8), out=[torch.zeros(1, 3, 8, 8, device="meta")]),
        ValueError,
        "meta",
        "cpu",
    ),
    (
        "out in another format",
        call(target=Target(VAE, 8, crop=8, memory_format=torch.channels_last), out=[torch.zeros(1, 3, 8, 8)]),
        ValueError,
        "out[0]: got strides",
        "leave memory_format out",
    ),
    (
        "out that is expanded",
        call(target=Target(VAE, 8, crop=8), out=[torch.zeros(1, 1, 8, 8).expand(1, 3, 8, 8)]),
        ValueError,
        "out[0]: got an expanded",
        "contiguous()",
    ),
    # packed images
    (
        "a float buffer",
        lambda: PackedImages(torch.zeros(9), [0], [(1, 3)]),
        TypeError,
        "buffer: got torch.float32",
        "uint8",
    ),
    (
        "a buffer of two axes",
        lambda: PackedImages(GOOD[0], [0], [(1, 3)]),
        ValueError,
        "buffer: got shape (40, 3)",
        ".view(-1)",
    ),
    (
        "a image past the buffer",
        lambda: PackedImages(GOOD.flatten(), [0, 3595], [(30, 40), (1, 2)]),
        ValueError,
        "images[1]: 1 x 2 pixels at byte 3595",
        "3600",
    ),
    (
        "a size in floats",
        lambda: PackedImages(GOOD.flatten(), [0], [(1.9, 1)]),
        TypeError,
        "sizes[0]: got 1.9",
        "whole",
    ),
    (
        "an offset in floats",
        lambda: PackedImages(GOOD.flatten(), [0.5], [(1, 1)]),
        TypeError,
        "offsets: got 0.5",
        "whole",
    ),
    (
        "a size of three numbers",
        lambda: PackedImages(GOOD.flatten(), [0], [(1, 1, 3)]),
        ValueError,
        "sizes[0]: got 3 numbers",
        "(height, width)",
    ),
    (
        "fewer sizes",
        lambda: PackedImages(GOOD.flatten(), [0, 3], [(1, 1)]),
        ValueError,
        "2 offsets and 1 sizes",
        "one each",
    ),
    (
        "a image that cannot be packed",
        lambda: PackedImages.pack([GOOD, GOOD / 255]),
        TypeError,
        "images[1]: got float32",
        "255",
    ),
]


@pytest.mark.parametrize(
    ("bad", "kind", "got", "expected"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_refusals(bad, kind, got, expected):
    with pytest.raises(kind) as caught:
        bad()
    assert type(caught.value) in (kind, fastnorm.PictureError)
    assert got in str(caught.value)
    assert expected in str(caught.value)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "damaged.jpg"
    Image.fromarray(random_pixels(64, 64, 3).numpy()).save(path)
    path.write_bytes(path.read_bytes()[:700])
    expected = r"images\[1\]: cannot be decoded \(OSError: .*\); remove it from the list"
    with Image.open(path) as damaged, pytest.raises(ValueError, match=expected):
        fastnorm.fused_dual_preprocess([GOOD, damaged])


def test_out_may_not_share_memory_with_an_input_or_another_output():
    memory = torch.zeros(3 * 8 * 8 * 4 + 30 * 40 * 3, dtype=torch.uint8)
    image = memory[: 30 * 40 * 3].view(30, 40, 3)
    out = memory[: 3 * 8 * 8 * 4].view(torch.float32).view(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"out\[0\]: shares memory with images\[0\]"):
        fastnorm.fused_preprocess([image], [Target(VAE, 8, crop=8)], out=[out])
    with pytest.raises(ValueError, match=r"out\[1\]: shares memory with out\[0\]"):
        fastnorm.fused_preprocess([GOOD], [Target(VAE, 8, crop=8), Target(CLIP, 8, crop=8)], out=[out, out])


def test_nothing_is_written_when_a_later_target_is_refused():
    out = torch.full((2, 3, 8, 8), float("nan"))
    good = Target(VAE, 8, crop=8)
    with pytest.raises(ValueError, match=r"targets\[1\]"):
        fastnorm.fused_preprocess([GOOD, GOOD[1:]], [good, Target(CLIP)], out=[out, None])
    assert out.isnan().all()


def test_absurd_sizes_are_refused_before_anything_is_allocated():
    strip = torch.zeros(1, 1, 3, dtype=torch.uint8).expand(1, 2**31 - 1, 3)
    with pytest.raises(ValueError, match="would become 512 x"):
        fastnorm.fused_preprocess([strip], [VAE_512])
    with pytest.raises(ValueError, match=r"images\[0\]: got 2 x 2147483647 pixels, expected at most"):
        fastnorm.fused_preprocess([strip.expand(2, 2**31 - 1, 3)], [CLIP_224])


CALLS = {"public": fastnorm.fused_preprocess, "reference": fastnorm.reference.preprocess}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((1, 2**24 + 1), (1, 2**23)),
        ((2**24 + 1, 1), (8, 1)),
        ((1, 8), (1, 2**24 + 1)),
        ((2**24 + 8, 2), (2**24 + 8, 1)),
    ],
)
def test_sides_that_pillow_s_float32_cannot_hold_are_refused(call, source, size):
    strip = torch.zeros(1, 1, 3, dtype=torch.uint8).expand(*source, 3)
    with pytest.raises(
        ValueError, match=r"images\[0\] of .* pixels would become .*, expected at most 16,777,216 pixels"
    ):
        call([strip], [Target(VAE, size=size, crop=8)])


def test_such_a_side_may_be_cropped():
    strip = random_pixels(1, 8, 3).repeat(1, 2**21 + 1, 1)
    target = Target(VAE, crop=Crop((1, 8), (0, 2**24)))
    (got,) = fastnorm.fused_preprocess([strip], [target])
    assert torch.equal(got, fastnorm.reference.preprocess([strip], [target])[0])
    assert torch.equal(got[0], fastnorm.reference.normalize(strip[:, :8], [VAE])[0])


def test_the_longest_side_is_resized_as_pillow_does():
    pixels = random_pixels(1, 2**24, 3)
    width, left = 2**23 - 3, 2**23 - 40
    resized = Image.fromarray(pixels.numpy()).resize((width, 1), Image.Resampling.BOX)
    (expected,) = fastnorm.reference.normalize(np.array(resized)[:, left : left + 32], [VAE])
    target = Target(VAE, size=(1, width), resample="box", crop=Crop((1, 32), (0, left)))
    for call in CALLS.values():
        assert torch.equal(call([pixels], [target])[0][0], expected)


def test_a_read_only_array_is_read():
    array = GOOD.numpy().copy()
    array.flags.writeable = False
    (got,) = fastnorm.fused_preprocess([array], [SMALL])
    assert torch.equal(got, fastnorm.fused_preprocess([GOOD], [SMALL])[0])
