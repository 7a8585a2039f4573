"""The examples in docstrings, in the README and on the documentation's pages run, and say what is true.

A page that calls something identical compares it with the published code itself, in a block that runs here.
"""

import dataclasses
import doctest
import importlib
import json
import pathlib
import re

import numpy as np
import PIL
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import fastnorm
from fastnorm.data.files import shipped_photographs
from helpers import random_pixels

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]

MODULES = [
    "fastnorm.data.collate",
    "fastnorm.data.prefetch",
    "fastnorm.data.preprocess",
    "fastnorm.ops.denormalize",
    "fastnorm.ops.guard",
    "fastnorm.ops.normalize",
    "fastnorm.spec.normalization",
    "fastnorm.images.packed",
    "fastnorm.ops.preprocess",
    "fastnorm.spec.errors",
    "fastnorm.integrations.torchvision",
    "fastnorm.integrations.transformers",
    "fastnorm.spec.filters",
    "fastnorm.spec.target",
    "fastnorm.spec.describe",
    "fastnorm.spec.padding",
    "fastnorm.spec.sizes",
    "fastnorm.spec.steps",
    "fastnorm.verification.verifying",
    "fastnorm.reference",
]

# What is public under a longer name than fastnorm.NAME, because it needs another library, or is asked for rarely.
OF_ROOMS = {
    "integrations.ray.job.EncodeError",
    "integrations.ray.job.Summary",
    "integrations.ray.job.encode",
    "integrations.ray.output.Status",
    "integrations.ray.output.status",
    "integrations.ray.output.verify",
    "integrations.torchvision.ToTarget",
    "integrations.transformers.image_processor",
    "verification.Cause",
    "verification.Compared",
    "verification.Difference",
    "verification.golden.save_golden",
}

# Fences whose contents are not run. Python under another name would be missed.
NOT_PYTHON = {"sh", "mermaid"}

BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"^\[[^\]]+\]: (\S+)$|\]\((\S+?)\)", re.MULTILINE)


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def python_blocks(page):
    """Each block of a page, moved down to its own line, so that a traceback names the page's."""
    text = page.read_text(encoding="utf-8")
    return [
        "\n" * text[: found.start(2)].count("\n") + found[2] for found in BLOCK.finditer(text) if found[1] == "python"
    ]


def run(page, given):
    """Run a page's blocks in order; they share their names. Without a GPU, "cuda" is the CPU."""
    for source in python_blocks(page):
        if not torch.cuda.is_available():
            source = source.replace('"cuda"', '"cpu"')
        exec(compile(source, name_of(page), "exec"), given)
    return given


@pytest.fixture
def given(tmp_path, monkeypatch):
    """What the pages take for granted."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "path" / "to" / "preprocessor_config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}))
    images = [Image.open(path).convert("RGB") for path in shipped_photographs()]
    return {
        "__name__": "page",
        "torch": torch,
        "fastnorm": fastnorm,
        "images": images,
        "batch": torch.stack([random_pixels(8, 8, 3)] * 2),
        "dataset": images,
    }


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    names = {"dataclasses": dataclasses, "fastnorm": fastnorm, "np": np, "PIL": PIL, "torch": torch}
    result = doctest.testmod(module, extraglobs=names)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")  # there is nothing to pin for without a GPU
@pytest.mark.parametrize("page", [page for page in PAGES if page != README and python_blocks(page)], ids=name_of)
def test_examples_of_a_page(page, given):
    run(page, given)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")
def test_readme_examples(given):
    given["processor"] = CLIPImageProcessorPil()
    given["dataset"] = [{"image": image, "index": index} for index, image in enumerate(given["images"])]
    assert len(python_blocks(README)) == 5
    run(README, given)
    assert (given["target"].size, given["target"].normalization) == (224, fastnorm.CLIP)
    assert given["positions"][0].shape == (len(given["images"]), 2)
    assert given["vae"].shape == (len(given["images"]), 3, 512, 512)
    assert "image" not in given["batch"], "the last block's, from the loader"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_all_python_is_run(page):
    languages = {found[1] for found in BLOCK.finditer(page.read_text(encoding="utf-8"))}
    assert languages <= {"python", *NOT_PYTHON}


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_a_guide_proves_what_it_calls_identical(page):
    text = page.read_text(encoding="utf-8")
    claims = len(re.findall(r"^\*\*Identical", text, re.MULTILINE))
    assert 0 < claims <= text.count("assert torch.equal(")


def test_every_public_name_is_in_the_reference_once():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    documented = re.findall(r"^::: fastnorm\.(\S+)$", pages, re.MULTILINE)
    of_rooms = {name for name in documented if "." in name}
    assert sorted(set(documented) - of_rooms) == sorted(fastnorm.__all__)
    assert len(documented) == len(set(documented))
    assert of_rooms == OF_ROOMS
    for name in OF_ROOMS:
        module, _, what = name.rpartition(".")
        assert getattr(importlib.import_module(f"fastnorm.{module}"), what).__doc__


def test_every_public_name_explains_itself():
    """Presets are values, whose pages say what they are."""
    values = (fastnorm.Normalization, fastnorm.Target)
    named = {name: getattr(fastnorm, name) for name in fastnorm.__all__}
    assert [name for name, what in named.items() if not isinstance(what, values) and not what.__doc__] == []


def test_the_architecture_page_knows_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {folder.parent.name for folder in (ROOT / "fastnorm").glob("*/__init__.py")}
    assert rooms <= set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


def test_the_architecture_page_draws_the_order_that_is_enforced():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = re.search(r"^    (cli(?: --> \w+)+)$", page, re.MULTILINE)[1].split(" --> ")
    layers = re.search(r"^layers = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)[1]
    enforced = re.findall(r'"fastnorm\.(\w+)"', layers)
    assert drawn == enforced


def test_the_architecture_page_names_files_that_exist():
    """All but those that it advises to add."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    roots = (ROOT, ROOT / "fastnorm", ROOT / "kernels")
    named = set(re.findall(r"`([\w/]+/[\w.]*)`", page)) - {"backends/tpu/", "integrations/lightning.py"}
    assert named
    assert [path for path in sorted(named) if not any((root / path).exists() for root in roots)] == []


def test_links_of_the_readme_work_on_a_package_index():
    """There, nothing lies beside the README; what is linked in the repository has to exist."""
    text = re.sub(r"`[^`]*`", "", BLOCK.sub("", README.read_text(encoding="utf-8")))
    links = [first or second for first, second in LINK.findall(text)]
    assert links
    for link in links:
        assert link.startswith("https://"), link
        _, in_repository, path = link.partition("/blob/main/")
        assert not in_repository or (ROOT / path).is_file(), link


def test_the_citation_names_this_version():
    assert f"\nversion: {fastnorm.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) < 150
