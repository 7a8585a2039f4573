"""Which output tensors are taken: whether two of them, or one in itself, share an element is decided exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fastnorm
from fastnorm import CLIP, VAE
from fastnorm.memory.outputs import _overlaps_itself, _share_memory
from helpers import random_pixels

pytestmark = pytest.mark.compat

BUFFER = torch.zeros(4096)


@st.composite
def views(draw):
    """Two views with the same nesting strides, of sizes and at places of their own."""
    strides, reach = [], 1
    sizes = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4))
    for pair in sizes:
        strides.append(reach + draw(st.integers(0, 3)))
        reach = strides[-1] * max(pair)
    first, second = ([pair[i] for pair in sizes] for i in range(2))
    offsets = draw(st.tuples(st.integers(0, reach), st.integers(0, reach)))
    return [BUFFER.as_strided(size, strides, offset) for size, offset in zip((first, second), offsets, strict=True)]


def elements(view):
    steps = np.ix_(*(np.arange(size) * stride for size, stride in zip(view.shape, view.stride(), strict=True)))
    return set((view.storage_offset() + sum(steps)).ravel().tolist())


@given(pair=views())
def test_shared_elements_are_found_exactly(pair):
    first, second = pair
    assert not _overlaps_itself(first)
    assert _share_memory(first, second) == bool(elements(first) & elements(second))
    assert _share_memory(second, first) == _share_memory(first, second)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_outputs_of_several_sizes_that_meet_are_refused_in_any_order(order):
    memory = torch.zeros(1, 3, 16, 16)
    outputs = [memory[..., :8, :8], memory[..., 4:16, 4:16]]
    targets = [fastnorm.Target(VAE, size=8), fastnorm.Target(CLIP, size=12)]
    with pytest.raises(ValueError, match="shares memory with"):
        fastnorm.fused_preprocess(
            [random_pixels(20, 20, 3)], [targets[index] for index in order], out=[outputs[index] for index in order]
        )
