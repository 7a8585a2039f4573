"""A published transform that takes one PIL image, as a row of the table."""

import numpy as np
from PIL import Image

from conformance.row import Row, compare
from fastnorm import Target

# Wide and tall, larger and smaller than what models take, and a strip; several margins are 3 modulo 4.
SIZES = [(233, 350), (641, 480), (37, 51), (60, 701)]


def images():
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in SIZES]


def checked(library, name, source, published):
    """The row of `source`, whose output for a PIL image is that of `published`: refused, or found identical."""
    try:
        target = Target.from_config(source)
    except (TypeError, ValueError) as refusal:
        return Row(library, name, "pil", f"refused: {refusal}")
    try:
        compare(target, published, images())
    except AssertionError as difference:
        raise AssertionError(f"{library}, {name}: {difference}") from None
    return Row(library, name, "pil", "identical")


def a_tenth(configurations, sample):
    """All of them, or for a sample every tenth."""
    return configurations[::10] if sample else configurations


def named(models):
    """The first of those that have one configuration, and how many more there are."""
    return f"{models[0]} and {len(models) - 1} more" if len(models) > 1 else models[0]
