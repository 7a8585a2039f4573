"""The examples in docstrings and in the README run; those that show results print what they say."""

import doctest
import importlib
import json
import pathlib
import re

import pytest
import torch
from torch.utils.data import DataLoader

import fastnorm
from helpers import random_pixels

README = pathlib.Path(__file__).parent.parent / "README.md"

MODULES = [
    "fastnorm.ops.normalize",
    "fastnorm.spec.normalization",
    "fastnorm.images.packed",
    "fastnorm.ops.preprocess",
    "fastnorm.spec.filters",
    "fastnorm.spec.target",
    "fastnorm.reference",
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"fastnorm": fastnorm})
    assert result.attempted > 0
    assert result.failed == 0


def test_readme_examples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "path" / "to" / "preprocessor_config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}))
    images = [random_pixels(60, 50, 3), random_pixels(50, 70, 3)]
    given = {
        "torch": torch,
        "fastnorm": fastnorm,
        "images": images,
        "batch": torch.stack([random_pixels(8, 8, 3)] * 2),
        # Without a GPU there is nothing to pin for, and torch warns.
        "DataLoader": lambda dataset, **options: DataLoader(dataset, **{**options, "pin_memory": False}),
        "dataset": images,
    }
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(block.replace('"cuda"', '"cpu"'), given)
    assert given["mine"] == fastnorm.Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert given["offsets"][0].shape == (2, 2)
    assert given["vae"].shape == (1, 3, 512, 512), "the last block's, from a loader of single pictures"
