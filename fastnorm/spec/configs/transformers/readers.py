"""The functions that read one class's settings, or those of many classes that do the same.

Each asks `Settings` for what the class honours. `pixels` is common to all: filter, arithmetic, constants and their
order. A class that computes its own size gives it to `resize`; what it pads, to `pad_normalized` or `letterbox`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnorm.spec.configs.transformers import sizes
from fastnorm.spec.configs.transformers.settings import HAND_WRITTEN, Settings
from fastnorm.spec.constants import OTHER_STEPS, check_factor, float32
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.options import FilterName, Placement
from fastnorm.spec.padding import Pad
from fastnorm.spec.size import Size
from fastnorm.spec.sizes import Area, Sides, SizeRule, Square
from fastnorm.spec.steps import BATCH, Crop, Resize, filter_name, resize_size

Arguments = dict[str, Any]
Reader = Callable[[Settings], Arguments]

_FULL_SCALE = 255
_TOP_LEFT = (0, 0)
_NORMALIZED_ZERO = Pad(value=0.0)
_FIRST_TORCHVISION_WITH_LANCZOS = (0, 27)
_OTHER_BACKEND = "read the other backend, where the class has it: backend='pil'"
_SIZE_KEYS = (("shortest_edge", "longest_edge"), ("shortest_edge",), ("max_height", "max_width"), ("height", "width"))


# --- what becomes of a pixel value


def pixels(settings: Settings, normalization: Normalization | None = None) -> Arguments:
    """Constants and their order, arithmetic, and what becomes of transparent pixels."""
    arguments: Arguments = {"normalization": normalization or _normalization(settings)}
    if settings.backend == "torchvision":
        arguments["arithmetic"] = "torch"
    if settings.on("do_convert_rgb"):
        arguments["alpha"] = "white"
    return arguments


def _normalization(settings: Settings) -> Normalization:
    rescale, normalize = settings.on("do_rescale"), settings.on("do_normalize")
    torchvision = settings.backend == "torchvision"
    factor = settings["rescale_factor"] if rescale else 1
    if not normalize:
        return _rescaled(settings)
    mean, std = settings["image_mean"], settings["image_std"]
    if torchvision or not rescale:
        return _fused(settings, mean, std, 1.0 / factor)
    check_factor(factor, settings.name)
    return Normalization(mean, std, settings.kind)


def _fused(settings: Settings, mean: Sequence[float], std: Sequence[float], scale: float) -> Normalization:
    """`(x - mean * scale) / (std * scale)`, the constants in float32."""
    if float32(scale) == _FULL_SCALE:
        return Normalization(mean, std, settings.kind, order="fused")
    means, stds = Normalization(mean, std, allow_unusual=True).mean, Normalization(mean, std, allow_unusual=True).std
    return Normalization(
        [_over_full_scale(settings, float32(float32(value) * float32(scale))) for value in means],
        [_over_full_scale(settings, float32(float32(value) * float32(scale))) for value in stds],
        settings.kind,
        order="fused",
    )


def _over_full_scale(settings: Settings, product: float) -> float:
    """The constant that gives this product when it is multiplied by 255 in float32."""
    near = np.float32(product / _FULL_SCALE)
    for candidate in (near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))):
        if float32(float(candidate) * _FULL_SCALE) == product:
            return float(candidate)
    return settings.refuse("rescale_factor", f"{product!r} is no float32 number times 255", HAND_WRITTEN)


# --- geometry, step by step


def resize(settings: Settings, size: int | Size | SizeRule | None) -> Arguments:
    """The resize to a size that the class computes."""
    return {"size": size, "resample": _filter(settings)}


def _filter(settings: Settings) -> FilterName:
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


def centre_crop(settings: Settings, resized: int | Size | SizeRule | None) -> Arguments:
    """The centre crop of either backend."""
    if not settings.on("do_center_crop"):
        return {}
    return {"crop": centre(settings, height_and_width(settings, "crop_size"), resized)}


def centre(settings: Settings, crop: Size, resized: int | Size | SizeRule | None) -> Crop:
    """Where the backend puts a crop of this size.

    Both round half the margin down. Around a smaller image, Pillow's puts the odd line of padding first, torchvision's
    last; an image that is larger in one direction and smaller in the other is nobody else's case.
    """
    if settings.backend == "pil":
        return Crop(crop, "transformers")
    if isinstance(resized, int) and resized >= max(crop):
        return Crop(crop, "transformers")
    if isinstance(resized, Size) and resized.height >= crop.height and resized.width >= crop.width:
        return Crop(crop, "transformers")
    if isinstance(resized, Size) and resized.height <= crop.height and resized.width <= crop.width:
        return Crop(crop, "torchvision")
    return settings.refuse(
        "crop_size",
        "the torchvision backend pads images smaller than the crop in a way of its own, and they may be smaller",
        f"set a size whose short side is at least the crop's, or {_OTHER_BACKEND}",
    )


def pad_normalized(settings: Settings, arguments: Arguments) -> Arguments:
    """Zeros at the bottom and the right of the normalised images, up to `pad_size` or the batch's largest."""
    if not settings.on("do_pad"):
        return {}
    crop = arguments.get("crop")
    fixed = arguments.get("size") if crop is None else crop.fixed_size
    if not settings.size("pad_size"):
        # Images of one size need no padding.
        return {} if isinstance(fixed, Size) else {"crop": Crop(BATCH, _TOP_LEFT), "pad": _NORMALIZED_ZERO}
    wanted = height_and_width(settings, "pad_size")
    if wanted == fixed:
        return {}
    if crop is not None:
        settings.refuse("pad_size", "it pads what was cropped", "set do_pad or do_center_crop to false")
    return {"crop": Crop(wanted, _TOP_LEFT), "pad": _NORMALIZED_ZERO}


def listed(arguments: Arguments) -> Arguments:
    """With `batch=False` where every image comes out in a size of its own."""
    if "crop" not in arguments and not isinstance(arguments.get("size"), Size):
        arguments["batch"] = False
    return arguments


def mean_color(settings: Settings) -> Pad:
    means = Normalization(settings["image_mean"], 1.0, allow_unusual=True).mean
    return Pad(fill=[int(255 * value) for value in means])


# --- classes that do nothing but this


def resize_crop_pad(settings: Settings) -> Arguments:
    """The base classes' own: resize, crop in the centre, rescale, normalise, pad."""
    arguments = _resize_crop(settings)
    return listed({**arguments, **pad_normalized(settings, arguments)})


def resize_crop(settings: Settings) -> Arguments:
    """The same without padding."""
    return listed(_resize_crop(settings))


def _resize_crop(settings: Settings) -> Arguments:
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, plain_size(settings))
    return {**arguments, **centre_crop(settings, arguments.get("size"))}


def resize_only(settings: Settings) -> Arguments:
    """The same without a crop."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, plain_size(settings))
    return listed(arguments)


def always_resize(settings: Settings) -> Arguments:
    """Likewise, by classes that do not ask `do_resize`."""
    settings.has_no_effect("do_resize")
    return listed({**pixels(settings), **resize(settings, plain_size(settings))})


# --- classes with a step of their own


def convnext(settings: Settings) -> Arguments:
    """Below 384: resize to size / crop_pct, then crop; from 384 on: a square, whatever the proportions."""
    arguments = pixels(settings)
    side, crop_pct = shortest_edge(settings), settings["crop_pct"]
    if settings.on("do_resize") and side < 384:
        wide = int(side / crop_pct)
        if settings.on("do_center_crop"):
            settings.refuse("do_center_crop", "it crops a second time", "set it to false")
        return {**arguments, **resize(settings, wide), "crop": centre(settings, Size(side, side), wide)}
    if settings.on("do_resize"):
        arguments |= resize(settings, Size(side, side))
    return listed({**arguments, **centre_crop(settings, arguments.get("size"))})


def levit(settings: Settings) -> Arguments:
    """A short side of 256 / 224 of the one that is given."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        size = settings.size()
        side = int(256 / 224 * size["shortest_edge"]) if "shortest_edge" in size else height_and_width(settings)
        arguments |= resize(settings, side)
    arguments |= centre_crop(settings, arguments.get("size"))
    return listed({**arguments, **pad_normalized(settings, arguments)})


def poolformer(settings: Settings) -> Arguments:
    """A size divided by `crop_pct`."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        size, crop_pct = settings.size(), settings["crop_pct"]
        if crop_pct is None:
            wide: int | Size | SizeRule = plain_size(settings)
        elif "shortest_edge" in size:
            wide = int(size["shortest_edge"] / crop_pct)
        else:
            height, width = height_and_width(settings)
            wide = int(height / crop_pct) if height == width else Size(int(height / crop_pct), int(width / crop_pct))
        arguments |= resize(settings, wide)
    arguments |= centre_crop(settings, arguments.get("size"))
    return listed({**arguments, **pad_normalized(settings, arguments)})


def perceiver(settings: Settings) -> Arguments:
    """Crops a part of the short side first, then resizes."""
    arguments = pixels(settings)
    if settings.on("do_center_crop"):
        size, crop = height_and_width(settings), height_and_width(settings, "crop_size")
        if size.height / crop.height != size.width / crop.width:
            settings.refuse("crop_size", "its proportions are not those of the size", "give a square size and crop")
        arguments["before"] = Crop(Square("shortest", size.height / crop.height), "transformers")
    if settings.on("do_resize"):
        arguments |= resize(settings, plain_size(settings))
    return listed(arguments)


def textnet(settings: Settings) -> Arguments:
    """The short side, then both rounded up to a multiple."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        rule = Sides(shortest=shortest_edge(settings), multiple_of=settings["size_divisor"])
        arguments |= resize(settings, rule)
    return listed({**arguments, **centre_crop(settings, arguments.get("size"))})


def glpn(settings: Settings) -> Arguments:
    """Both sides rounded down to a multiple."""
    settings.has_no_effect("size")
    arguments = pixels(settings)
    if settings.on("do_resize"):
        rule = Sides(multiple_of=settings["size_divisor"], multiple_rounding="floor")
        arguments |= resize(settings, rule)
    return listed(arguments)


def detr(settings: Settings) -> Arguments:
    """The short side within a longest one, padded to the batch."""
    size = plain_size(settings)
    if isinstance(size, int):
        settings.refuse("size", "it has no longest_edge, which this class needs", "give one")
    return _detection(settings, size)


def _detection(settings: Settings, size: int | Size | SizeRule) -> Arguments:
    settings.has_no_effect("format", "do_convert_annotations")
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, size)
    return listed({**arguments, **pad_normalized(settings, arguments)})


def yolos(settings: Settings) -> Arguments:
    """DETR with a size rule of its own."""
    size = settings.size()
    if "shortest_edge" in size and "longest_edge" in size:
        return _detection(settings, sizes.Yolos(size["shortest_edge"], size["longest_edge"]))
    return detr(settings)


def mask2former(settings: Settings) -> Arguments:
    """DETR's sizes, rounded up to a multiple, padded to the batch without being asked."""
    settings.has_no_effect("ignore_index", "do_reduce_labels", "num_labels", "do_pad")
    arguments = pixels(settings)
    if settings.on("do_resize"):
        size, multiple = plain_size(settings), settings["size_divisor"] or 1
        if isinstance(size, Sides):
            size = Sides(
                shortest=size.shortest,
                longest=size.longest,
                within=size.within,
                multiple_of=multiple,
                rule="transformers",
            )
        elif isinstance(size, Size):
            size = Sides(multiple_of=multiple)(*size)
        else:
            settings.refuse("size", "it has no longest_edge, which this class needs", "give one")
        arguments |= resize(settings, size)
    wanted = height_and_width(settings, "pad_size") if settings.size("pad_size") else BATCH
    return {**arguments, "crop": Crop(wanted, _TOP_LEFT), "pad": _NORMALIZED_ZERO}


def oneformer(settings: Settings) -> Arguments:
    """DETR's sizes, padded to the batch without being asked."""
    settings.has_no_effect(
        "ignore_index", "do_reduce_labels", "repo_path", "class_info_file", "num_text", "num_labels", "metadata"
    )
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, plain_size(settings))
    return {**arguments, "crop": Crop(BATCH, _TOP_LEFT), "pad": _NORMALIZED_ZERO}


def divided(settings: Settings) -> Arguments:
    """BridgeTower and ViLT."""
    arguments = pixels(settings)
    rule = sizes.ShortestDivided(shortest_edge(settings), settings["size_divisor"] or 1)
    if settings.on("do_resize"):
        arguments |= resize(settings, rule)
    if settings.on("do_center_crop"):
        side = settings.size("crop_size").get("shortest_edge")
        if side is None:
            settings.refuse("crop_size", "it has no shortest_edge, which this class needs", "give one")
        arguments["crop"] = centre(settings, Size(side, side), arguments.get("size"))
    return listed({**arguments, **pad_normalized(settings, arguments)})


def vilt(settings: Settings) -> Arguments:
    """The same without a crop."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, sizes.ShortestDivided(shortest_edge(settings), settings["size_divisor"] or 1))
    settings.has_no_effect("pad_size")
    if not settings.on("do_pad"):
        return listed(arguments)
    return {**arguments, "crop": Crop(BATCH, _TOP_LEFT), "pad": _NORMALIZED_ZERO}


def dpt(settings: Settings) -> Arguments:
    """The scale nearer to 1, multiples, then zeros on all sides of the normalised image up to a multiple."""
    settings.has_no_effect("do_reduce_labels", "prompt_scale_to_meter", "ensure_multiple_of", "keep_aspect_ratio")
    arguments = pixels(settings)
    if settings.on("do_resize"):
        rule = sizes.NearestScale(
            height_and_width(settings), settings["ensure_multiple_of"], settings.on("keep_aspect_ratio")
        )
        arguments |= resize(settings, rule)
    if settings.on("do_pad") and settings["size_divisor"] is not None:
        arguments |= {"crop": Crop(Sides(multiple_of=settings["size_divisor"])), "pad": _NORMALIZED_ZERO}
        arguments["batch"] = False
    return listed(arguments)


def llava(settings: Settings) -> Arguments:
    """Pads to a square with the mean colour first, where asked to."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, plain_size(settings))
    arguments |= centre_crop(settings, arguments.get("size"))
    settings.has_no_effect("pad_size")
    if settings.on("do_pad"):
        arguments |= {"before": Crop(Square("longest")), "pad": mean_color(settings)}
    return listed(arguments)


def janus(settings: Settings) -> Arguments:
    """The long side, then padded to a square with the mean colour."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, sizes.longest_of_janus(square_side(settings), settings["min_size"]))
    settings.has_no_effect("pad_size")
    if settings.on("do_pad"):
        arguments |= {"crop": Crop(Square("longest")), "pad": mean_color(settings), "batch": False}
    return listed(arguments)


def deepseek_vl_hybrid(settings: Settings) -> Arguments:
    """The smaller of two pictures, which is made of the larger one: resized, padded to a square, resized again."""
    if settings.backend != "pil":
        settings.refuse("high_res_size", "it resizes twice in torch's arithmetic", _OTHER_BACKEND)
    arguments = pixels(settings)
    if not (settings.on("do_resize") and settings.on("do_pad")):
        settings.refuse("do_resize", "with do_pad, both have to be on", "set them to true")
    settings.has_no_effect("pad_size", "high_res_image_std")
    high, minimum = height_and_width(settings, "high_res_size"), settings["min_size"]
    means = Normalization(settings["high_res_image_mean"], 1.0, allow_unusual=True).mean
    before = Resize(sizes.longest_of_janus(high.height, minimum), filter_name(settings["high_res_resample"]))
    arguments |= resize(settings, sizes.longest_of_janus(square_side(settings), minimum))
    return {
        **arguments,
        "before": (before, Crop(Square("longest"))),
        "pad": Pad(fill=[int(255 * value) for value in means]),
        "batch": False,
    }


def global_view(settings: Settings) -> Arguments:
    """DeepSeek-OCR 2 and its relatives: the long side, padded to a square; tiles are in `pixel_values_local`."""
    settings.has_no_effect("do_resize", "min_patches", "max_patches", "maximum_pad_value", "model_input_names")
    arguments = pixels(settings)
    side = square_side(settings)
    if not settings.on("crop_to_patches"):
        settings.refuse("crop_to_patches", "the global view has another size then", "set it to true")
    settings.has_no_effect("tile_size")
    arguments |= resize(settings, Sides(longest=side, rule="transformers", rounding="round"))
    return {**arguments, "crop": Crop(Size(side, side)), "pad": Pad(fill=list(settings["background_color"]))}


def sam(settings: Settings) -> Arguments:
    """The long side, rounded half up; the normalised image padded with zeros."""
    settings.has_no_effect("mask_size", "mask_pad_size")
    arguments = pixels(settings)
    if settings.on("do_resize"):
        size = settings.size()
        if "longest_edge" not in size:
            settings.refuse("size", "it has no longest_edge, which this class needs", "give one")
        arguments |= resize(settings, Sides(longest=size["longest_edge"], rule="transformers", rounding="half_up"))
    return listed({**arguments, **pad_normalized(settings, arguments)})


def pixtral(settings: Settings) -> Arguments:
    """No larger than a size, then whole patches; the normalised images padded to the batch."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        size, patch = settings.size(), height_and_width(settings, "patch_size")
        if patch.height != patch.width:
            settings.refuse("patch_size", "patches are not square", HAND_WRITTEN)
        most = size["longest_edge"] if "longest_edge" in size else height_and_width(settings)
        rule = Sides(within=most, enlarge=False, rule="timm", rounding="floor", multiple_of=patch.height)
        arguments |= resize(settings, rule)
    settings.has_no_effect("pad_size", "patch_size")
    if not settings.on("do_pad"):
        return listed(arguments)
    return {**arguments, "crop": Crop(BATCH, _TOP_LEFT), "pad": _NORMALIZED_ZERO}


def fuyu(settings: Settings) -> Arguments:
    """No larger than a size, then padded at the bottom and the right with a pixel value."""
    settings.has_no_effect("patch_size", "pad_size")
    arguments = pixels(settings)
    size = height_and_width(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, Sides(within=size, enlarge=False, rule="transformers"))
    if not settings.on("do_pad"):
        return listed(arguments)
    fill = settings["padding_value"]
    if settings["padding_mode"] != "constant" or int(fill) != fill:
        settings.refuse("padding_mode", "only one whole pixel value is reproduced", HAND_WRITTEN)
    return {**arguments, "crop": Crop(size, _TOP_LEFT), "pad": Pad(fill=int(fill))}


def aria(settings: Settings) -> Arguments:
    """The long side exactly, the short one no less than a minimum, then black at the bottom and the right."""
    settings.has_no_effect("split_resolutions", "do_resize", "size")
    side = settings["max_image_size"]
    arguments = pixels(settings)
    arguments |= resize(settings, sizes.LongestExactly(side, settings["min_image_size"]))
    return {**arguments, "crop": Crop(Size(side, side), _TOP_LEFT)}


def idefics2(settings: Settings) -> Arguments:
    arguments = pixels(settings)
    if settings.on("do_resize"):
        size = settings.size()
        if "shortest_edge" in size and "longest_edge" in size:
            arguments |= resize(settings, sizes.BetweenEdges(size["shortest_edge"], size["longest_edge"]))
        else:
            arguments |= resize(settings, height_and_width(settings))
    settings.has_no_effect("pad_size")
    if not settings.on("do_pad"):
        return listed(arguments)
    return {**arguments, "crop": Crop(BATCH, _TOP_LEFT), "pad": _NORMALIZED_ZERO}


def donut(settings: Settings) -> Arguments:
    """The short side, then no larger than a size, then black on all sides."""
    size = height_and_width(settings)
    arguments = pixels(settings)
    if settings.on("do_resize"):
        if settings.backend != "pil":
            settings.refuse("do_thumbnail", "it resizes twice in torch's arithmetic", _OTHER_BACKEND)
        arguments["before"] = Resize(min(size), _filter(settings))
    if not (settings.on("do_thumbnail") and settings.on("do_pad")):
        settings.refuse("do_thumbnail", "with do_pad, both have to be on", "set them to true")
    return {**arguments, **resize(settings, sizes.Thumbnail(size)), "crop": Crop(size)}


def vitmatte(settings: Settings) -> Arguments:
    """The picture's three channels, which are not resized; the fourth is the trimap's."""
    arguments = pixels(settings)
    if settings.on("do_pad"):
        arguments |= {"crop": Crop(Sides(multiple_of=settings["size_divisor"]), _TOP_LEFT), "pad": _NORMALIZED_ZERO}
    return {**arguments, "batch": False}


def efficientnet(settings: Settings) -> Arguments:
    for switch in ("include_top", "rescale_offset"):
        if settings.on(switch):
            settings.refuse(switch, *OTHER_STEPS[switch])
    return resize_crop(settings)


def mobilevit(settings: Settings) -> Arguments:
    """Rescaled alone."""
    settings.has_no_effect("do_reduce_labels", "do_normalize", "image_mean", "image_std")
    _refuse_bgr(settings)
    arguments = pixels(settings, _rescaled(settings))
    if settings.on("do_resize"):
        arguments |= resize(settings, plain_size(settings))
    return listed({**arguments, **centre_crop(settings, arguments.get("size"))})


def tvp(settings: Settings) -> Arguments:
    """The long side, rounded down; each frame padded to the crop on all sides."""
    settings.has_no_effect("constant_values", "pad_mode")
    _refuse_bgr(settings)
    arguments = pixels(settings)
    longest = settings.size().get("longest_edge")
    if settings.on("do_resize"):
        rule = Sides(longest=longest, rule="pillow", rounding="floor") if longest else plain_size(settings)
        arguments |= resize(settings, rule)
    if longest and settings.on("do_center_crop") and longest <= min(height_and_width(settings, "crop_size")):
        position: Placement = "transformers" if settings.backend == "pil" else "torchvision"
        arguments["crop"] = Crop(height_and_width(settings, "crop_size"), position)
    else:
        arguments |= centre_crop(settings, arguments.get("size"))
    return listed({**arguments, **pad_normalized(settings, arguments)})


def _refuse_bgr(settings: Settings) -> None:
    if settings.on("do_flip_channel_order"):
        settings.refuse("do_flip_channel_order", *OTHER_STEPS["do_flip_channel_order"])


def _rescaled(settings: Settings) -> Normalization:
    """`ToTensor` alone, or what the torchvision backend computes for it."""
    if not settings.on("do_rescale"):
        settings.refuse("do_rescale", "its outputs are uint8", "set it to true")
    check_factor(settings["rescale_factor"], settings.name)
    return Normalization(
        0.0, 1.0, settings.kind, order="to_dtype" if settings.backend == "torchvision" else "to_tensor"
    )


def swin2sr(settings: Settings) -> Arguments:
    """Rescaled alone, then mirrored at the bottom and the right up to the next multiple."""
    settings.has_no_effect("do_normalize", "image_mean", "image_std", "do_resize", "size", "resample", "pad_size")
    arguments = pixels(settings, _rescaled(settings))
    if settings.on("do_pad"):
        arguments["crop"] = Crop(sizes.NextMultiple(settings["size_divisor"]), _TOP_LEFT)
        arguments |= {"pad": Pad(mode="symmetric"), "batch": False}
    return listed(arguments)


# --- classes that cut what they normalise into patches: the pixels before


def _patches(settings: Settings, rule: SizeRule) -> Arguments:
    settings.has_no_effect("patch_size", "temporal_patch_size", "merge_size", "spatial_patch_size")
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, rule)
    return listed(arguments)


def _area(settings: Settings, factor: int, frames: int = 1) -> Area:
    size = settings.size()
    least = size.get("shortest_edge", size.get("min_pixels"))
    most = size.get("longest_edge", size.get("max_pixels"))
    if least is None or most is None:
        settings.refuse("size", "it has no least and largest number of pixels, which this class needs", "give both")
    if least % frames or most % frames:
        settings.refuse("size", f"its numbers are no multiples of the {frames} frames", HAND_WRITTEN)
    return Area(factor, min_pixels=least // frames, max_pixels=most // frames)


def qwen2_vl(settings: Settings) -> Arguments:
    return _patches(settings, _area(settings, settings["patch_size"] * settings["merge_size"]))


def paddleocr_vl(settings: Settings) -> Arguments:
    area = _area(settings, settings["patch_size"] * settings["merge_size"])
    return _patches(settings, sizes.AtLeastOneFactor(area, rounded=True))


def glm4v(settings: Settings) -> Arguments:
    factor = settings["patch_size"] * settings["merge_size"] * (settings["patch_expand_factor"] or 1)
    area = _area(settings, factor, settings["temporal_patch_size"])
    return _patches(settings, sizes.AtLeastOneFactor(area, rounded=False))


def glm_image(settings: Settings) -> Arguments:
    area = _area(settings, settings["patch_size"] * settings["merge_size"])
    return _patches(settings, sizes.GlmImage(area.multiple_of, area.min_pixels, area.max_pixels))


def muse_glimmer(settings: Settings) -> Arguments:
    settings.has_no_effect("size")
    patch = settings["patch_size"] * settings["merge_size"]
    return _patches(settings, sizes.NearestGrid(patch, settings["max_image_tokens"]))


def gemma4(settings: Settings) -> Arguments:
    settings.has_no_effect("size")
    pooling = settings["pooling_kernel_size"]
    rule = sizes.PatchBudget(settings["patch_size"], settings["max_soft_tokens"] * pooling**2, pooling)
    return _patches(settings, rule)


def siglip2(settings: Settings) -> Arguments:
    settings.has_no_effect("size")
    return _patches(settings, sizes.NaFlex(settings["patch_size"], settings["max_num_patches"]))


def kimi_k25(settings: Settings) -> Arguments:
    """Never enlarged, then black at the bottom and the right up to whole patches."""
    size = settings.size()
    if size.get("max_height") is None or size.get("max_height") != size.get("max_width"):
        settings.refuse("size", "it has no equal max_height and max_width", "give both")
    factor = settings["patch_size"] * settings["merge_size"]
    rule = sizes.NaViT(settings["patch_size"], settings["max_patches"], size["max_height"])
    arguments = _patches(settings, rule)
    if settings.on("do_resize"):
        arguments["crop"] = Crop(Sides(multiple_of=factor), _TOP_LEFT)
    return arguments


def neomme(settings: Settings) -> Arguments:
    """Not resized unless asked to, then black at the bottom and the right up to whole patches."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        settings.has_no_effect("resample")
    return {**arguments, "crop": Crop(Sides(multiple_of=settings["patch_size"]), _TOP_LEFT), "batch": False}


def inkling(settings: Settings) -> Arguments:
    """Not resized unless asked to."""
    settings.has_no_effect("size", "do_resize", "resample", "rescale_image_max_upscaled_long_edge")
    return {**pixels(settings), "batch": False}


def inkling2(settings: Settings) -> Arguments:
    """Not resized; transparent pixels are put on a checkerboard."""
    settings.has_no_effect("size", "do_resize", "resample")
    return {**pixels(settings), "alpha": "error", "batch": False}


def area_padded_to_batch(settings: Settings) -> Arguments:
    """Emu3 and Apertus: Qwen's sizes, the normalised images padded with zeros to the batch."""
    settings.has_no_effect("min_pixels", "max_pixels", "pad_size")
    factor = settings["spatial_factor"]
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, _area(settings, factor))
    if settings.kind != "Emu3ImageProcessor" and not settings.on("do_pad"):  # Emu3 keeps no do_pad: it is an argument
        return listed(arguments)
    return {**arguments, "crop": Crop(BATCH, _TOP_LEFT), "pad": _NORMALIZED_ZERO}


def without(reader: Reader, *no_effect: str) -> Reader:
    """A reader that passes over settings which do not concern `pixel_values`."""

    def read(settings: Settings) -> Arguments:
        settings.has_no_effect(*no_effect)
        return reader(settings)

    return read
