"""Geometry that several classes share, step by step: sizes, filters, centre crops, what is padded."""

from __future__ import annotations

from fastnorm.spec.configs.transformers.settings import HAND_WRITTEN, Arguments, Settings
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.options import FilterName
from fastnorm.spec.padding import Pad
from fastnorm.spec.size import Size
from fastnorm.spec.sizes import Area, SizeRule
from fastnorm.spec.steps import BATCH, Crop, filter_name, resize_size

TOP_LEFT = (0, 0)
NORMALIZED_ZERO = Pad(value=0.0)
OTHER_BACKEND = "read the other backend, where the class has it: backend='pil'"
_FIRST_TORCHVISION_WITH_LANCZOS = (0, 27)
_SIZE_KEYS = (("shortest_edge", "longest_edge"), ("shortest_edge",), ("max_height", "max_width"), ("height", "width"))


def resize(settings: Settings, size: int | Size | SizeRule | None) -> Arguments:
    """The resize to a size that the class computes."""
    return {"size": size, "resample": filter_of(settings)}


def filter_of(settings: Settings) -> FilterName:
    resample = settings["resample"]
    name = "bilinear" if resample is None else filter_name(resample)
    if name == "lanczos" and settings.backend == "torchvision" and not _torchvision_has_lanczos():
        return "bicubic"  # as transformers does, with a warning
    return name


def _torchvision_has_lanczos() -> bool:
    import torchvision

    return tuple(map(int, torchvision.__version__.split(".")[:2])) >= _FIRST_TORCHVISION_WITH_LANCZOS


def plain_size(settings: Settings) -> int | Size | SizeRule:
    """The sizes that `resize` of both backends has, in the order in which it looks for them."""
    size = settings.size()
    for names in _SIZE_KEYS:
        if set(names) <= set(size):
            found = resize_size({name: size[name] for name in names})
            assert found is not None
            return found
    return settings.refuse("size", f"{settings.kind} has no rule for it", HAND_WRITTEN)


def height_and_width(settings: Settings, key: str = "size") -> Size:
    size = settings.size(key)
    if "height" not in size or "width" not in size:
        settings.refuse(key, "it has no height and width, which this class needs", "give both")
    return Size(size["height"], size["width"])


def square_side(settings: Settings) -> int:
    height, width = height_and_width(settings)
    if height != width:
        settings.refuse("size", f"{settings.kind} takes squares alone", "give one height and width")
    return height


def shortest_edge(settings: Settings) -> int:
    size = settings.size()
    if "shortest_edge" not in size:
        settings.refuse("size", "it has no shortest_edge, which this class needs", "give one")
    return size["shortest_edge"]


def centre_crop(settings: Settings) -> Arguments:
    """The centre crop of either backend."""
    if not settings.on("do_center_crop"):
        return {}
    return {"crop": centre(settings, height_and_width(settings, "crop_size"))}


def centre(settings: Settings, crop: Size) -> Crop:
    """Where the backend puts a crop of this size."""
    return Crop(crop, "transformers" if settings.backend == "pil" else "transformers_torchvision")


def pad_normalized(settings: Settings, arguments: Arguments) -> Arguments:
    """Zeros at the bottom and the right of the normalised images, up to `pad_size` or the batch's largest."""
    if not settings.on("do_pad"):
        return {}
    crop = arguments.get("crop")
    fixed = arguments.get("size") if crop is None else crop.fixed_size
    if not settings.size("pad_size"):
        # Images of one size need no padding.
        return {} if isinstance(fixed, Size) else {"crop": Crop(BATCH, TOP_LEFT), "pad": NORMALIZED_ZERO}
    wanted = height_and_width(settings, "pad_size")
    if wanted == fixed:
        return {}
    if crop is not None:
        settings.refuse("pad_size", "it pads what was cropped", "set do_pad or do_center_crop to false")
    return {"crop": Crop(wanted, TOP_LEFT), "pad": NORMALIZED_ZERO}


def listed(arguments: Arguments) -> Arguments:
    """With `batch=False` where every image comes out in a size of its own."""
    if "crop" not in arguments and not isinstance(arguments.get("size"), Size):
        arguments["batch"] = False
    return arguments


def mean_color(settings: Settings) -> Pad:
    means = Normalization(settings["image_mean"], 1.0, allow_unusual=True).mean
    return Pad(fill=[int(255 * value) for value in means])


def area_of(settings: Settings, factor: int, frames: int = 1) -> Area:
    size = settings.size()
    least = size.get("shortest_edge", size.get("min_pixels"))
    most = size.get("longest_edge", size.get("max_pixels"))
    if least is None or most is None:
        settings.refuse("size", "it has no least and largest number of pixels, which this class needs", "give both")
    if least % frames or most % frames:
        settings.refuse("size", f"its numbers are no multiples of the {frames} frames", HAND_WRITTEN)
    return Area(factor, min_pixels=least // frames, max_pixels=most // frames)


def padded_to_batch(arguments: Arguments) -> Arguments:
    """Zeros at the bottom and the right of the normalised images, up to the batch's largest."""
    return {**arguments, "crop": Crop(BATCH, TOP_LEFT), "pad": NORMALIZED_ZERO}
