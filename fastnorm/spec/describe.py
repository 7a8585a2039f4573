"""A target in words: its geometry, step by step, and what else its output depends on."""

from __future__ import annotations

from fastnorm.spec.geometry import Size
from fastnorm.spec.padding import Pad
from fastnorm.spec.sizes import SizeRule
from fastnorm.spec.steps import BATCH, Border, Crop, Halve, Position, Step
from fastnorm.spec.target import Target

_CENTRES = {
    "torchvision": "in the centre: half the margin, rounded half to even",
    "transformers": "in the centre: half the margin, rounded down",
    "transformers_torchvision": "in the centre: half the margin, rounded towards zero",
    "random": "at a random position",
}


def geometry_in_words(target: Target) -> list[str]:
    """What a target does to an image before its pixels are normalised, in order; one line each.

    Example:
        >>> for line in geometry_in_words(fastnorm.CLIP_224):
        ...     print(line)
        resize, bicubic: the short side to 224, the long side in proportion, rounded down
        crop 224 x 224 in the centre: half the margin, rounded down; black around smaller images
    """
    around = _around(target.pad)
    lines = [_step(step, around) for step in target.before]
    if target.size is not None:
        with_what = target.resample if target.arithmetic == "pillow" else f"{target.resample} in torch's arithmetic"
        lines.append(_resize(target.size, with_what, target.reducing_gap))
    if target.crop is not None:
        lines.append(_crop(target.crop, target.crop_size, around))
    return lines or ["nothing: images keep their size"]


def output_in_words(target: Target) -> list[str]:
    """What the output of a target depends on beside its geometry and its normalisation; one line each."""
    lines = []
    if target.alpha is not None:
        lines.append(f"Transparent pixels: {target.alpha}")
    if target.channel_order != "RGB":
        lines.append("The output's channels are B, G, R; mean and std are those of R, G, B")
    if not target.batch:
        lines.append("The output is a list of tensors, one per image, as their sizes differ")
    return lines


def _step(step: Step, around: str) -> str:
    if isinstance(step, Crop):
        return _crop(step, step.fixed_size, around)
    if isinstance(step, Border):
        sides = ((step.top, "top"), (step.left, "left"), (step.bottom, "bottom"), (step.right, "right"))
        shown = ", ".join(f"{pixels} at the {side}" for pixels, side in sides)
        return f"add lines, or take them away where negative: {shown}; {around}"
    if isinstance(step, Halve):
        return f"halve, box, for as long as the short side is {2 * step.shortest} or more"
    return _resize(step.size, step.resample, step.reducing_gap)


def _resize(size: int | Size | SizeRule, resample: str, gap: float | None) -> str:
    if isinstance(size, int):
        what = f"the short side to {size}, the long side in proportion, rounded down"
    elif isinstance(size, Size):
        what = f"to {size.height} x {size.width}, whatever the proportions"
    else:
        what = f"by the rule {size!r}"
    first = f", after reducing by whole numbers to {gap:g} times that or more" if gap is not None else ""
    return f"resize, {resample}: {what}{first}"


def _crop(crop: Crop, size: Size | None, around: str) -> str:
    if size is not None:
        what = f"{size.height} x {size.width}"
    else:
        what = "to the batch's largest image" if crop.size == BATCH else f"by the rule {crop.size!r}"
    at = crop.position
    where = f"at (top, left) = {tuple(at)}" if isinstance(at, Position) else _CENTRES[at]
    return f"crop {what} {where}; {around}"


def _around(pad: Pad | bool) -> str:
    if pad is False:
        return "smaller images are refused"
    if pad is True or pad.is_black:
        return "black around smaller images"
    if pad.mode != "constant":
        return f"{pad.mode} padding around smaller images"
    if pad.value is not None:
        return f"around smaller images, the output holds {', '.join(f'{value:g}' for value in pad.value)}"
    return f"pixel values {pad.fill} around smaller images"


def fields(target: Target) -> dict[str, object]:
    """A target as JSON has it: numbers, strings, lists and dictionaries.

    Example:
        >>> fields(fastnorm.CLIP_224)["crop"]
        {'size': [224, 224], 'position': 'transformers'}
        >>> fields(fastnorm.SIGLIP_224)["size"]
        [224, 224]

    A size is a number (the short side), [height, width], or, of a rule, its name and what it is made with, as its
    constructor is written in Python. So are the steps that come before the resize.
    """
    normalization = target.normalization
    pad = target.padding
    return {
        "mean": list(normalization.mean),
        "std": list(normalization.std),
        "order": normalization.order,
        "size": _plain(target.size),
        "resample": target.resample,
        "arithmetic": target.arithmetic,
        "reducing_gap": target.reducing_gap,
        "crop": target.crop
        and {"size": _plain(target.crop_size or target.crop.size), "position": _plain(target.crop.position)},
        "pad": {"mode": pad.mode, "fill": list(pad.fill), "value": _plain(pad.value)} if target.pad else None,
        "alpha": target.alpha,
        "exif": target.exif,
        "before": [repr(step) for step in target.before],
        "channel_order": target.channel_order,
    }


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, (int, str)) else repr(value)
