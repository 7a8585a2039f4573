"""Readers of classes that give tiles of the image, or cut what they normalise into patches.

Tiles beside the image as a whole are refused, unless a setting says no to them. Of patches, a target is the pixels
before they are cut.
"""

from __future__ import annotations

from fastnorm.spec.configs.transformers import sizes
from fastnorm.spec.configs.transformers.geometry import (
    OTHER_BACKEND,
    TOP_LEFT,
    area_of,
    filter_of,
    height_and_width,
    listed,
    resize,
)
from fastnorm.spec.configs.transformers.readers import donut, resize_only
from fastnorm.spec.configs.transformers.settings import Arguments, Settings
from fastnorm.spec.configs.transformers.values import pixels
from fastnorm.spec.size import Size
from fastnorm.spec.sizes import Sides, SizeRule
from fastnorm.spec.steps import Crop, Resize

TILES = "its tensors hold tiles of the image beside the whole of it"


# --- classes that give tiles beside the image as a whole, unless a setting says no


def _refuse_tiles(settings: Settings, switch: str, off: object = False) -> None:
    if settings[switch] != off and settings[switch] is not None:
        settings.refuse(switch, TILES, f"set it to {off!r} for the image as a whole alone")


def untiled(settings: Settings) -> Arguments:
    """Cohere 2 Vision, Granite Docling: the image as a whole."""
    _refuse_tiles(settings, "crop_to_patches")
    settings.has_no_effect("min_patches", "max_patches", "patch_size", "fine_route")
    settings.has_no_effect("dense_max_patches", "dense_max_scale", "dense_min_aspect", "dense_max_aspect")
    if settings.kind == "GraniteDoclingImageProcessor":
        settings.has_no_effect("do_resize")
        return {**pixels(settings), **resize(settings, height_and_width(settings))}
    return resize_only(settings)


def perception_lm(settings: Settings) -> Arguments:
    _refuse_tiles(settings, "vision_input_type", "vanilla")
    settings.has_no_effect("size", "max_num_tiles")
    arguments = pixels(settings)
    if settings.on("do_resize"):
        side = settings["tile_size"]
        arguments |= resize(settings, Size(side, side))
    return listed(arguments)


def idefics3(settings: Settings) -> Arguments:
    """The long side, then a square, whatever the proportions."""
    _refuse_tiles(settings, "do_image_splitting")
    settings.has_no_effect("do_pad", "pad_size", "return_row_col_info")
    arguments = pixels(settings)
    if settings.on("do_resize"):
        if settings.backend != "pil":
            settings.refuse("max_image_size", "it resizes twice in torch's arithmetic", OTHER_BACKEND)
        size = settings.size()
        first = sizes.EvenLongest(size["longest_edge"]) if "longest_edge" in size else height_and_width(settings)
        arguments["before"] = Resize(first, filter_of(settings))
    side = settings.size("max_image_size")["longest_edge"]
    return {**arguments, **resize(settings, Size(side, side))}


def nougat(settings: Settings) -> Arguments:
    """Donut, with a filter of its own for what is too large."""
    if settings.on("do_crop_margin"):
        settings.refuse("do_crop_margin", "it cuts margins off by what the image shows", "set it to false")
    gap = 2.0 if settings.backend == "pil" else None
    return {**donut(settings), "resample": "bicubic", "reducing_gap": gap}


# --- classes that cut what they normalise into patches: the pixels before


def _patches(settings: Settings, rule: SizeRule) -> Arguments:
    settings.has_no_effect("patch_size", "temporal_patch_size", "merge_size", "spatial_patch_size")
    arguments = pixels(settings)
    if settings.on("do_resize"):
        arguments |= resize(settings, rule)
    return listed(arguments)


def qwen2_vl(settings: Settings) -> Arguments:
    return _patches(settings, area_of(settings, settings["patch_size"] * settings["merge_size"]))


def hunyuan_vl(settings: Settings) -> Arguments:
    """The same, always bicubic."""
    return {**qwen2_vl(settings), "resample": "bicubic"} if settings.on("do_resize") else qwen2_vl(settings)


def paddleocr_vl(settings: Settings) -> Arguments:
    area = area_of(settings, settings["patch_size"] * settings["merge_size"])
    return _patches(settings, sizes.AtLeastOneFactor(area, rounded=True))


def glm4v(settings: Settings) -> Arguments:
    factor = settings["patch_size"] * settings["merge_size"] * (settings["patch_expand_factor"] or 1)
    area = area_of(settings, factor, settings["temporal_patch_size"])
    return _patches(settings, sizes.AtLeastOneFactor(area, rounded=False))


def glm_image(settings: Settings) -> Arguments:
    area = area_of(settings, settings["patch_size"] * settings["merge_size"])
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
        arguments["crop"] = Crop(Sides(multiple_of=factor), TOP_LEFT)
    return arguments


def lfm2_vl(settings: Settings) -> Arguments:
    _refuse_tiles(settings, "do_image_splitting")
    settings.has_no_effect("min_tiles", "max_tiles", "use_thumbnail", "tile_size", "max_pixels_tolerance", "size")
    settings.has_no_effect("do_pad", "pad_size", "return_row_col_info", "do_resize")
    factor = settings["encoder_patch_size"] * settings["downsample_factor"]
    rule = sizes.TokenArea(factor, settings["min_image_tokens"], settings["max_image_tokens"])
    return listed({**pixels(settings), **resize(settings, rule)})


def minicpm(settings: Settings) -> Arguments:
    _refuse_tiles(settings, "slice_mode")
    settings.has_no_effect("max_slice_nums", "use_image_id", "size")
    if settings["small_image_upsize"] not in (None, "always"):
        settings.refuse("small_image_upsize", "it depends on what the image shows", "set it to 'always'")
    multiple = settings["patch_size"] * (2 if settings["downsample_mode"] == "4x" else 4)
    return _patches(settings, sizes.SquareOfArea(settings["scale_resolution"], multiple))


def neomme(settings: Settings) -> Arguments:
    """Not resized unless asked to, then black at the bottom and the right up to whole patches."""
    arguments = pixels(settings)
    if settings.on("do_resize"):
        settings.has_no_effect("resample")
    return {**arguments, "crop": Crop(Sides(multiple_of=settings["patch_size"]), TOP_LEFT), "batch": False}


def inkling(settings: Settings) -> Arguments:
    """Not resized unless asked to."""
    settings.has_no_effect("size", "do_resize", "resample", "rescale_image_max_upscaled_long_edge")
    return {**pixels(settings), "batch": False}


def inkling2(settings: Settings) -> Arguments:
    """Not resized; transparent pixels are put on a checkerboard."""
    settings.has_no_effect("size", "do_resize", "resample")
    return {**pixels(settings), "alpha": "error", "batch": False}
