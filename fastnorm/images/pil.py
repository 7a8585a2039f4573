"""PIL images of any mode as upright, opaque RGB ones: every choice that published pipelines differ in is explicit."""

from __future__ import annotations

from PIL import Image, ImageOps

_DEEP_MODES = {"I": "32-bit integer grayscale", "F": "32-bit float grayscale"}
_OPAQUE = 255
_TAKEN_FOR_OPAQUE = ("RGBa",)  # transformers looks for a band called "A", which premultiplied alpha is not
_ORIENTATION = 0x0112  # EXIF's tag; 1 is upright
_UPRIGHT = 1


class ConversionError(ValueError):
    """One image that cannot be used as it is: what was passed, what is expected, and how to fix it."""

    def __init__(self, got: str, expected: str, fix: str) -> None:
        self.got, self.expected, self.fix = got, expected, fix
        super().__init__(f"{got}; {expected}; {fix}")


def to_rgb(image: Image.Image, alpha: str = "error", exif: str = "ignore") -> Image.Image:
    """The image in mode "RGB"; itself if it is that already.

    Grayscale, palette, CMYK and the like go through Pillow's own `convert("RGB")`.

    Args:
        alpha: What becomes of transparent pixels. "drop": their hidden colour shows, as after `convert("RGB")`, which
            torchvision pipelines call; "white": put on white, as the image processors of transformers 5.23 do (5.20
            dropped alpha too), which drop the premultiplied alpha of mode "RGBa"; "error": refused. An alpha channel
            that is opaque everywhere is dropped: all agree.
        exif: What becomes of an EXIF orientation: "ignore", as published pipelines do; "apply"; or "error".

    Raises:
        ConversionError: 16-bit and 32-bit modes, or what the arguments refuse.
    """
    if exif != "ignore":
        image = _upright(image, exif)
    _refuse_deep(image)
    image.load()
    if image.has_transparency_data:
        return _without_alpha(image, alpha)
    return image if image.mode == "RGB" else image.convert("RGB")


def _upright(image: Image.Image, exif: str) -> Image.Image:
    orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
    if orientation == _UPRIGHT:
        return image
    if exif == "error":
        raise ConversionError(
            f"an EXIF orientation of {orientation}",
            "expected an upright image",
            "choose exif='ignore', as published pipelines do, or exif='apply'",
        )
    return ImageOps.exif_transpose(image)


def _refuse_deep(image: Image.Image) -> None:
    if image.mode.startswith("I;16"):
        got, to_8_bit = "16-bit grayscale", "numpy.asarray(image) // 257"
    elif image.mode in _DEEP_MODES:
        got, to_8_bit = _DEEP_MODES[image.mode], "numpy.asarray(image) * (255 / numpy.max(image))"
    else:
        return
    raise ConversionError(
        f"{got} (mode {image.mode})",
        "expected 8 bits a channel, as Pillow would clip all values above 255",
        f"make it PIL.Image.fromarray(({to_8_bit}).astype('uint8'))",
    )


def _without_alpha(image: Image.Image, alpha: str) -> Image.Image:
    rgba = image.convert("RGBA")
    least, _ = rgba.getchannel("A").getextrema()
    if least == _OPAQUE or alpha == "drop" or (alpha == "white" and image.mode in _TAKEN_FOR_OPAQUE):
        return rgba.convert("RGB")
    if alpha == "white":
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    raise ConversionError(
        f"transparent pixels (mode {image.mode})",
        "expected opaque ones, as published pipelines disagree about the rest",
        "choose alpha='drop', as torchvision pipelines do with convert('RGB'), or alpha='white', as transformers does",
    )
