"""The images that both sides are given: the shipped photographs, parts of them, and noise of odd sizes."""

import functools

import numpy as np
from PIL import Image

from fastnorm.data.files import shipped_photographs

SEED = 20
SIDES = (30, 700)
# Lines, single pixels, extreme proportions, and sizes at which margins are 3 modulo 4.
ODD = ((1, 1), (1, 5), (17, 3), (61, 30), (23, 50), (227, 231), (500, 90), (64, 350), (301, 417))


def noise(height, width, seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def transparent(height=60, width=90):
    """An image with every alpha value, and a gray one: what processors that convert to RGB make of them."""
    pixels = np.random.default_rng(SEED).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(pixels), Image.fromarray(pixels[..., 0])


def converted(target):
    """The transparent and the gray image, as far as the target takes them."""
    if target.alpha is None:
        return ()
    with_alpha, gray = transparent()
    return (gray,) if target.alpha == "error" else (with_alpha, gray)


@functools.cache
def photographs():
    """The photographs that the package contains, at half their size: edges, gradients and text."""
    return tuple(Image.open(path).convert("RGB").reduce(2) for path in shipped_photographs())


def sample_images(few):
    generator = np.random.default_rng(SEED)
    sizes = [*ODD, *generator.integers(*SIDES, (4, 2)).tolist()]
    images = (*photographs(), *(noise(*size, seed) for seed, size in enumerate(sizes)))
    return images[:: 4 if few else 1]
