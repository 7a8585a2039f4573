"""The examples: each script with fastnorm trains as its published counterpart beside it, to the last bit.

Run with `--loops`, where the extra `loops` is installed.
"""

import ast
import difflib
import importlib
import os
import pathlib
import subprocess
import sys

import pytest
import torch
from torch import multiprocessing

import fastnorm
import processes_for_tests
from examples import tiny

ROOT = pathlib.Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/after.py"))
STEPS = tiny.COUNT // tiny.BATCH

loops = [pytest.mark.loops, pytest.mark.filterwarnings("default")]  # other packages' warnings are not ours to fix


def code_of(script):
    """The lines of a script below its docstring."""
    source = script.read_text(encoding="utf-8")
    return source.splitlines()[ast.parse(source).body[0].end_lineno :]


def changed_lines(name):
    """How many lines leave `before.py`, and how many come in `after.py`."""
    found = list(difflib.ndiff(*(code_of(EXAMPLES / name / script) for script in ("before.py", "after.py"))))
    return tuple(sum(line.startswith(sign) for line in found) for sign in ("- ", "+ "))


def table_of_changes():
    """The table of docs/loops.md."""
    rows = ["| example | lines that go | lines that come |", "|---|---|---|"]
    return "\n".join(
        rows + [f"| `examples/{name}` | {out} | {come} |" for name in NAMES for out, come in [changed_lines(name)]]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("images")
    tiny.make_images(made)
    return made


def run(name, script, folder):
    return importlib.import_module(f"examples.{name}.{script}").main(folder, STEPS)


@pytest.fixture
def quick_processes(name, monkeypatch):
    """For examples that start processes: most of their time would go into imports."""
    if name == "ray_data":
        processes_for_tests.start_ray()
    monkeypatch.setattr(multiprocessing, "spawn", processes_for_tests.spawn)


@pytest.mark.usefixtures("quick_processes")
@pytest.mark.parametrize("name", [pytest.param(name, marks=loops) for name in NAMES])
def test_ten_steps_are_the_same_before_and_after(name, folder):
    losses, fed = run(name, "before", folder)
    our_losses, our_fed = run(name, "after", folder)

    assert our_losses == losses
    assert len(set(losses)) == len(losses) >= STEPS, "every step trains on something else"
    for ours, theirs in zip(our_fed, fed, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.loops
@pytest.mark.filterwarnings("default")
def test_the_resumed_run_sees_every_sample_once(folder):
    _, fed = run("torchdata_resume", "after", folder)
    assert sorted(torch.cat([indices for _, indices in fed]).tolist()) == list(range(tiny.COUNT))


@pytest.mark.loops
@pytest.mark.filterwarnings("default")
def test_a_target_is_not_what_repa_feeds_its_encoder(folder):
    from examples.repa import after

    (raw_image,) = next(zip(torch.utils.data.DataLoader(after.CustomDataset(folder), 4), strict=False))
    _, theirs = after.preprocess(raw_image)
    (target,) = fastnorm.fused_preprocess(raw_image, [fastnorm.Target(fastnorm.DINOV2, size=224, resample="bicubic")])

    assert theirs.shape == target.shape
    one_pixel_value = 1 / 255 / max(fastnorm.DINOV2.std)
    assert (theirs - target).abs().max() > one_pixel_value, "more than another rounding"


@pytest.mark.loops
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_lightning_preprocesses_in_the_hook_for_a_gpu_and_in_the_workers_without_one(device, folder):
    from examples.lightning_module import after, before

    torch.manual_seed(0)
    published = list(before.batches(folder))
    torch.manual_seed(0)
    for batch, theirs in zip(after.loader(folder, torch.device(device)), published, strict=True):
        assert isinstance(batch.get("image"), fastnorm.PackedImages) == (device == "cuda")
        ready = after.Module().on_after_batch_transfer(batch, 0)
        assert sorted(ready) == ["label", "pixel_values"]
        assert all(torch.equal(ready[key], theirs[key]) for key in ready)


@pytest.mark.loops
def test_an_example_runs_from_the_command_line(folder, monkeypatch, capsys):
    module = "examples.random_resized_crop.after"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", module, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    monkeypatch.setattr(sys, "argv", [module])  # without a folder, and here: another process would import for seconds
    tiny.run(importlib.import_module(module).main)
    for printed in (done.stdout, capsys.readouterr().out):
        assert [line.partition(":")[0] for line in printed.splitlines()] == [f"step {one}" for one in range(STEPS)]


def test_every_example_says_how_to_run_it():
    for name in NAMES:
        for script in ("before.py", "after.py"):
            source = (EXAMPLES / name / script).read_text(encoding="utf-8")
            assert f"python -m examples.{name}.{script.removesuffix('.py')} [FOLDER]" in source


def test_the_page_counts_the_changed_lines():
    assert table_of_changes() in (ROOT / "docs" / "loops.md").read_text(encoding="utf-8")
