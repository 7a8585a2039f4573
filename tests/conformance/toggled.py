"""Each class with one setting changed: refused, or the same bits. What a reader passes over shows here."""

from conformance.images import converted, noise, photographs
from conformance.row import compare
from conformance.transformers_rows import REQUIRED, published
from fastnorm import Target

SWITCHES = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_pad", "do_convert_rgb")
CHANGES = (
    {"size": {"height": 50, "width": 70}},
    {"size": {"shortest_edge": 60}},
    {"size": {"shortest_edge": 60, "longest_edge": 100}},
    {"size": {"longest_edge": 90}},
    {"size": {"max_height": 50, "max_width": 90}},
    {"crop_size": {"height": 45, "width": 52}},
    {"crop_size": {"height": 400, "width": 400}, "do_center_crop": True},
    {"pad_size": {"height": 800, "width": 900}, "do_pad": True},
    {"pad_size": {"height": 800, "width": 900}, "do_pad": True, "do_resize": False, "do_center_crop": False},
    {"resample": 1},
    {"resample": 2},
    {"resample": 3},
    {"resample": 4},
    {"rescale_factor": 1 / 127.5},
    {"rescale_factor": 0.0039215686},
    {"do_rescale": False, "do_normalize": True, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 61.0, 62.5]},
    {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
    {"size_divisor": 4},
    {"do_flip_channel_order": True},
)
IMAGES = (photographs()[0].resize((133, 100)), noise(61, 30, 0), noise(23, 50, 1), noise(227, 231, 2))


def variations(kind):
    """Settings that differ from a class's own in one thing."""
    processor = kind(**REQUIRED.get(kind.__name__, {}))
    known = getattr(kind, "valid_kwargs", None)
    names = getattr(known, "__annotations__", {})
    yield from ({switch: not getattr(processor, switch, None)} for switch in SWITCHES if switch in names)
    yield from (change for change in CHANGES if set(change) <= set(names))


def check(kind, settings):
    """ "identical", or why it is refused; AssertionError where the bits differ."""
    try:
        processor = kind(**REQUIRED.get(kind.__name__, {}), **settings)
        target = Target.from_config(processor)
    except (TypeError, ValueError) as error:
        return f"refused: {error}"
    try:
        compare(target, published(processor), [*IMAGES, *converted(target)])
    except AssertionError as error:
        if "refused every image" in str(error):
            return "the class itself refuses every image"
        raise AssertionError(f"{kind.__name__}({settings}): {error}") from None
    return "identical"
