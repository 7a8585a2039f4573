"""The functions that read one class's settings, or those of many classes that do the same.

Each asks `Settings` for what its class honours, and says in what order. Classes that give tiles or patches of the
image are in `patches`.
"""

from __future__ import annotations

from fastnorm.spec.configs import torchvision
from fastnorm.spec.configs.transformers import sizes
from fastnorm.spec.configs.transformers.geometry import (
    NORMALIZED_ZERO,
    OTHER_BACKEND,
    TOP_LEFT,
    area_of,
    centre,
    centre_crop,
    filter_of,
    height_and_width,
    listed,
    mean_color,
    pad_normalized,
    padded_to_batch,
    plain_size,
    resize,
    shortest_edge,
    square_side,
)
from fastnorm.spec.configs.transformers.settings import HAND_WRITTEN, Arguments, Reader, Settings
from fastnorm.spec.configs.transformers.values import pixels, rescaled
from fastnorm.spec.constants import OTHER_STEPS
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.padding import Pad
from fastnorm.spec.size import Size
from fastnorm.spec.sizes import Sides, SizeRule, Square
from fastnorm.spec.steps import BATCH, Crop, Resize, filter_name


def without(reader: Reader, *no_effect: str) -> Reader:
    """A reader that passes over settings which do not concern `pixel_values`."""

    def read(settings: Settings) -> Arguments:
        settings.has_no_effect(*no_effect)
        return reader(settings)

    return read


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
    return {**arguments, **centre_crop(settings)}


def video_llava(settings: Settings) -> Arguments:
    """The same, by a class that passes over a longest_edge."""
    if len(settings.size()) > 1 and "shortest_edge" in settings.size():
        settings.refuse("size", "the class passes over all but shortest_edge", "give that alone")
    return resize_crop(settings)


def resize_only(settings: Settings) -> Arguments:
    """The same without a crop."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, plain_size(settings))
    return listed(arguments)


# --- classes with a step of their own


def convnext(settings: Settings) -> Arguments:
    """Below 384: resize to size / crop_pct, then crop; from 384 on: a square, whatever the proportions."""
    arguments = pixels(settings)
    side, crop_pct = shortest_edge(settings), settings["crop_pct"]
    if settings.on("do_resize") and side < 384:
        wide = int(side / crop_pct)
        if settings.on("do_center_crop"):
            settings.refuse("do_center_crop", "it crops a second time", "set it to false")
        return {**arguments, **resize(settings, wide), "crop": centre(settings, Size(side, side))}
    if settings.on("do_resize"):
        arguments |= resize(settings, Size(side, side))
    return listed({**arguments, **centre_crop(settings)})


def levit(settings: Settings) -> Arguments:
    """A short side of 256 / 224 of the one that is given."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        size = settings.size()
        side = int(256 / 224 * size["shortest_edge"]) if "shortest_edge" in size else height_and_width(settings)
        arguments |= resize(settings, side)
    arguments |= centre_crop(settings)
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
    arguments |= centre_crop(settings)
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
    return listed({**arguments, **centre_crop(settings)})


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
    return {**arguments, "crop": Crop(wanted, TOP_LEFT), "pad": NORMALIZED_ZERO}


def oneformer(settings: Settings) -> Arguments:
    """DETR's sizes, padded to the batch without being asked."""
    settings.has_no_effect(
        "ignore_index", "do_reduce_labels", "repo_path", "class_info_file", "num_text", "num_labels", "metadata"
    )
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, plain_size(settings))
    return padded_to_batch(arguments)


def bridgetower(settings: Settings) -> Arguments:
    """BridgeTower."""
    settings.has_no_effect("pad_size")
    arguments = pixels(settings)
    rule = sizes.ShortestDivided(shortest_edge(settings), settings["size_divisor"] or 1)
    if settings.on("do_resize"):
        arguments |= resize(settings, rule)
    if settings.on("do_center_crop"):
        side = settings.size("crop_size").get("shortest_edge")
        if side is None:
            settings.refuse("crop_size", "it has no shortest_edge, which this class needs", "give one")
        arguments["crop"] = centre(settings, Size(side, side))
        settings.has_no_effect("do_pad")  # images of one size
        return arguments
    return padded_to_batch(arguments) if settings.on("do_pad") else listed(arguments)


def vilt(settings: Settings) -> Arguments:
    """BridgeTower's sizes without a crop."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, sizes.ShortestDivided(shortest_edge(settings), settings["size_divisor"] or 1))
    settings.has_no_effect("pad_size")
    if not settings.on("do_pad"):
        return listed(arguments)
    return padded_to_batch(arguments)


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
        arguments |= {"crop": Crop(Sides(multiple_of=settings["size_divisor"])), "pad": NORMALIZED_ZERO}
        arguments["batch"] = False
    return listed(arguments)


def llava(settings: Settings) -> Arguments:
    """Pads to a square with the mean colour first, where asked to."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, plain_size(settings))
    arguments |= centre_crop(settings)
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
    """The smaller of two images, which is made of the larger one: resized, padded to a square, resized again."""
    if settings.backend != "pil":
        settings.refuse("high_res_size", "it resizes twice in torch's arithmetic", OTHER_BACKEND)
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
    return padded_to_batch(arguments)


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
    return {**arguments, "crop": Crop(size, TOP_LEFT), "pad": Pad(fill=int(fill))}


def aria(settings: Settings) -> Arguments:
    """The long side exactly, the short one no less than a minimum, then black at the bottom and the right."""
    settings.has_no_effect("split_resolutions", "do_resize", "size")
    side = settings["max_image_size"]
    arguments = pixels(settings)
    arguments |= resize(settings, sizes.LongestExactly(side, settings["min_image_size"]))
    return {**arguments, "crop": Crop(Size(side, side), TOP_LEFT)}


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
    return padded_to_batch(arguments)


def donut(settings: Settings) -> Arguments:
    """The short side, then no larger than a size, then black on all sides."""
    size = height_and_width(settings)
    arguments = pixels(settings)
    if settings.on("do_resize"):
        if settings.backend != "pil":
            settings.refuse("do_thumbnail", "it resizes twice in torch's arithmetic", OTHER_BACKEND)
        arguments["before"] = Resize(min(size), filter_of(settings))
    if not (settings.on("do_thumbnail") and settings.on("do_pad")):
        settings.refuse("do_thumbnail", "with do_pad, both have to be on", "set them to true")
    return {**arguments, **resize(settings, sizes.Thumbnail(size)), "crop": Crop(size)}


def vitmatte(settings: Settings) -> Arguments:
    """The image's three channels, which are not resized; the fourth is the trimap's."""
    arguments = pixels(settings)
    if settings.on("do_pad"):
        arguments |= {"crop": Crop(Sides(multiple_of=settings["size_divisor"]), TOP_LEFT), "pad": NORMALIZED_ZERO}
    return {**arguments, "batch": False}


def efficientnet(settings: Settings) -> Arguments:
    for switch in ("include_top", "rescale_offset"):
        if settings.on(switch):
            settings.refuse(switch, *OTHER_STEPS[switch])
    return resize_crop(settings)


def mobilevit(settings: Settings) -> Arguments:
    """Rescaled alone."""
    settings.has_no_effect("do_reduce_labels", "do_normalize", "image_mean", "image_std")
    arguments = pixels(settings, rescaled(settings)) | _channel_order(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, plain_size(settings))
    return listed({**arguments, **centre_crop(settings)})


def tvp(settings: Settings) -> Arguments:
    """The long side, rounded down; each frame padded to the crop on all sides."""
    arguments = pixels(settings) | _channel_order(settings)
    longest = settings.size().get("longest_edge")
    if settings.on("do_resize"):
        rule = Sides(longest=longest, rule="pillow", rounding="floor") if longest else plain_size(settings)
        arguments |= resize(settings, rule)
    arguments |= centre_crop(settings)
    padding = pad_normalized(settings, arguments)
    settings.has_no_effect("pad_mode")
    if padding and (settings["pad_mode"] != "constant" or settings["constant_values"]):
        settings.refuse("pad_mode", "only padding with zeros is reproduced", HAND_WRITTEN)
    settings.has_no_effect("constant_values")
    return listed({**arguments, **padding})


def _channel_order(settings: Settings) -> Arguments:
    return {"channel_order": "BGR"} if settings.on("do_flip_channel_order") else {}


def pp_lcnet(settings: Settings) -> Arguments:
    """The short side, both sides rounded, then up to a multiple; the channels are always turned round."""
    arguments = {**pixels(settings), "channel_order": "BGR"}
    if settings.on("do_resize"):
        short, multiple = settings["resize_short"], settings["size_divisor"]
        if short is None:
            size = plain_size(settings)
        else:
            settings.has_no_effect("size")
            multiple = 1 if multiple is None else multiple
            size = Sides(shortest=short, multiple_of=multiple, rule="transformers", rounding="round")
        arguments |= resize(settings, size)
    settings.has_no_effect("resize_short", "size_divisor")
    return listed({**arguments, **centre_crop(settings)})


def timm_wrapper(settings: Settings) -> Arguments:
    """timm's own transform, which the class keeps."""
    return torchvision.read(settings["val_transforms"], settings.name, None)


def swin2sr(settings: Settings) -> Arguments:
    """Rescaled alone, then mirrored at the bottom and the right up to the next multiple."""
    settings.has_no_effect("do_normalize", "image_mean", "image_std", "do_resize", "size", "resample", "pad_size")
    arguments = pixels(settings, rescaled(settings))
    if settings.on("do_pad"):
        arguments["crop"] = Crop(sizes.NextMultiple(settings["size_divisor"]), TOP_LEFT)
        arguments |= {"pad": Pad(mode="symmetric"), "batch": False}
    return listed(arguments)


def area_padded_to_batch(settings: Settings) -> Arguments:
    """Emu3 and Apertus: Qwen's sizes, the normalised images padded with zeros to the batch."""
    settings.has_no_effect("min_pixels", "max_pixels", "pad_size")
    factor = settings["spatial_factor"]
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, area_of(settings, factor))
    if settings.kind != "Emu3ImageProcessor" and not settings.on("do_pad"):  # Emu3 keeps no do_pad: it is an argument
        return listed(arguments)
    return padded_to_batch(arguments)
