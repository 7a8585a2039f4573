"""The examples in docstrings run and print what they say."""

import doctest
import importlib

import pytest

import fastnorm

MODULES = [
    "fastnorm._functional",
    "fastnorm._normalization",
    "fastnorm._packed",
    "fastnorm._preprocess",
    "fastnorm._resampling",
    "fastnorm._target",
    "fastnorm.reference",
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"fastnorm": fastnorm})
    assert result.attempted > 0
    assert result.failed == 0
