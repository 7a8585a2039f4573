"""The pictures that both sides are given: the shipped photographs, parts of them, and noise of odd sizes."""

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


@functools.cache
def photographs():
    """The photographs that the package contains, at half their size: edges, gradients and text."""
    return tuple(Image.open(path).convert("RGB").reduce(2) for path in shipped_photographs())


@functools.cache
def sample_images(random=4):
    generator = np.random.default_rng(SEED)
    sizes = [*ODD, *generator.integers(*SIDES, (random, 2)).tolist()]
    return (*photographs(), *(noise(*size, seed) for seed, size in enumerate(sizes)))
