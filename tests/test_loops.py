"""`Preprocess`, `PackedImages` and `Prefetcher` inside the loops of the packages that people train with.

Run with `--loops`, where the extra `loops` is installed.
"""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import fastnorm
from fastnorm import Crop, PackedImages, Prefetcher, Preprocess, Target, collate_images
from helpers import random_pixels

# What these packages deprecate among one another is not ours to mend.
pytestmark = [pytest.mark.loops, pytest.mark.filterwarnings("default")]

TARGET = Target(fastnorm.CLIP, size=24, resample="bicubic", crop=Crop())
COUNT = 10


def picture(index):
    return Image.fromarray(random_pixels(40 + index, 50, 3, seed=index).numpy())


def png(index):
    file = io.BytesIO()
    picture(index).save(file, "PNG")
    return file.getvalue()


def expected(indices):
    return fastnorm.fused_preprocess([picture(index) for index in indices], [TARGET])[0]


@pytest.fixture
def preprocess():
    return Preprocess("image", pixel_values=TARGET)


@pytest.fixture
def table():
    import datasets

    columns = {"image": [{"bytes": png(index), "path": None} for index in range(COUNT)], "id": list(range(COUNT))}
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())


@pytest.mark.parametrize("decode", [True, False])
def test_datasets_with_transform(table, preprocess, decode):
    import datasets

    transformed = table.cast_column("image", datasets.Image(decode=decode)).with_transform(preprocess)

    assert torch.equal(transformed[3]["pixel_values"], expected([3])[0])
    for workers in (0, 2):
        found = list(DataLoader(transformed, batch_size=4, num_workers=workers))
        assert [batch["id"].tolist() for batch in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        for batch in found:
            assert torch.equal(batch["pixel_values"], expected(batch["id"].tolist()))


def test_datasets_fingerprint_is_the_same_in_every_process(preprocess):
    from datasets.fingerprint import Hasher

    script = (
        "import fastnorm; from datasets.fingerprint import Hasher; "
        "target = fastnorm.Target(fastnorm.CLIP, size=24, resample='bicubic', crop=fastnorm.Crop()); "
        "print(Hasher.hash(fastnorm.Preprocess('image', pixel_values=target)))"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()

    preprocess({"image": picture(0)})
    assert Hasher.hash(preprocess) == there
    assert Hasher.hash(Preprocess("image", pixel_values=TARGET, flip=True)) != there


def test_webdataset(tmp_path):
    import webdataset

    with webdataset.TarWriter(str(tmp_path / "a.tar")) as tar:
        for index in range(COUNT):
            tar.write({"__key__": f"{index:03}", "png": png(index), "cls": str(index).encode()})
    preprocess = Preprocess(("jpg", "png"), pixel_values=TARGET)

    for decoded in (False, True):
        samples = webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False)
        samples = samples.decode("pil") if decoded else samples
        found = list(samples.map(preprocess))
        assert [int(sample["cls"]) for sample in found] == list(range(COUNT))
        assert torch.equal(torch.stack([sample["pixel_values"] for sample in found]), expected(range(COUNT)))


def samples():
    return [{"image": picture(index), "id": index} for index in range(COUNT)]


def packed_loader(kind=DataLoader, **options):
    return kind(samples(), batch_size=2, collate_fn=collate_images("image"), **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_stateful_loader_repeats_and_loses_nothing(preprocess, workers):
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader():
        generator = torch.Generator().manual_seed(3)
        return packed_loader(StatefulDataLoader, num_workers=workers, shuffle=True, generator=generator)

    whole = [batch["id"].tolist() for batch in Prefetcher(loader(), preprocess, "cpu")]
    for stop in (1, 3):
        first = Prefetcher(loader(), preprocess, "cpu")
        seen = [batch["id"].tolist() for _, batch in zip(range(stop), first, strict=False)]
        rest = Prefetcher(loader(), preprocess, "cpu")
        rest.load_state_dict(first.state_dict())
        resumed = list(rest)
        assert seen + [batch["id"].tolist() for batch in resumed] == whole
        for batch in resumed:
            assert torch.equal(batch["pixel_values"], expected(batch["id"].tolist()))


def test_accelerate(preprocess):
    from accelerate import Accelerator, skip_first_batches

    accelerator = Accelerator(cpu=True)
    prepared = accelerator.prepare(packed_loader(num_workers=2))

    for loader, first in ((prepared, 0), (skip_first_batches(prepared, 3), 6)):
        found = list(Prefetcher(loader, preprocess, accelerator.device))
        assert torch.cat([batch["id"] for batch in found]).tolist() == list(range(first, COUNT))
        assert torch.equal(torch.cat([batch["pixel_values"] for batch in found]), expected(range(first, COUNT)))
    with pytest.raises(AttributeError, match="before: Prefetcher"):
        skip_first_batches(Prefetcher(prepared, preprocess, "cpu"), 1)


SHARDED = """
import torch
from accelerate import Accelerator
import fastnorm
accelerator = Accelerator(cpu=True)
samples = [{"image": torch.full((8, 9, 3), index, dtype=torch.uint8), "id": index} for index in range(8)]
loader = torch.utils.data.DataLoader(samples, batch_size=2, collate_fn=fastnorm.collate_images("image"))
preprocess = fastnorm.Preprocess("image", pixel_values=fastnorm.Target(fastnorm.CLIP))
try:
    list(fastnorm.Prefetcher(loader, preprocess, "cpu"))
    raise SystemExit("a loader that is not prepared was taken")
except RuntimeError as error:
    assert "2 processes" in str(error), error
    found = [batch["id"] for batch in fastnorm.Prefetcher(accelerator.prepare(loader), preprocess, "cpu")]
    print("process", accelerator.process_index, torch.cat(found).tolist(), flush=True)
"""


STREAMED = """
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
import fastnorm
class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([{"image": torch.full((8, 9, 3), index, dtype=torch.uint8), "id": index} for index in range(8)])
accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(dispatch_batches=False))
loader = torch.utils.data.DataLoader(Stream(), batch_size=2, collate_fn=fastnorm.collate_images("image"))
target = fastnorm.Target(fastnorm.CLIP)
batches = fastnorm.Prefetcher(accelerator.prepare(loader), fastnorm.Preprocess("image", pixel_values=target), "cpu")
found = []
for batch in batches:
    images = [torch.full((8, 9, 3), index, dtype=torch.uint8) for index in batch["id"].tolist()]
    assert torch.equal(batch["pixel_values"], fastnorm.fused_preprocess(images, [target])[0])
    found += batch["id"].tolist()
print("process", accelerator.process_index, found, flush=True)
"""


@pytest.mark.parametrize("script", [SHARDED, STREAMED], ids=["of a dataset", "of a stream"])
def test_each_process_of_accelerate_gets_its_share(tmp_path, script):
    (tmp_path / "script.py").write_text(script)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "script.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert sorted(line for line in done.stdout.splitlines() if line.startswith("process")) == [
        "process 0 [0, 1, 4, 5]",
        "process 1 [2, 3, 6, 7]",
    ]


@pytest.mark.filterwarnings("error:Trying to infer the `batch_size`")
def test_lightning(preprocess, tmp_path):
    from lightning.pytorch import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)
            self.seen = []

        def on_after_batch_transfer(self, batch, dataloader_idx):  # noqa: ARG002
            assert isinstance(batch["image"], PackedImages)
            return preprocess(batch)

        def training_step(self, batch, batch_idx):  # noqa: ARG002
            self.seen.append(batch)
            loss = self.layer(batch["pixel_values"].mean((2, 3))).mean()
            self.log("loss", loss)  # asks the batch for its size; a warning would be an error
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    module = Module()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, log_every_n_steps=1, **quiet)
    trainer.fit(module, packed_loader())

    assert [batch["id"].tolist() for batch in module.seen] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    for batch in module.seen:
        assert torch.equal(batch["pixel_values"], expected(batch["id"].tolist()))


def test_lightning_finds_the_size_of_packed_images():
    from lightning.pytorch.utilities.data import extract_batch_size

    packed = PackedImages.pack([picture(index) for index in range(5)])
    assert extract_batch_size({"image": packed}) == 5
    assert extract_batch_size({"image": packed, "ids": torch.zeros(5, 7)}) == 5


RAY = """
import json, sys
import ray
import fastnorm
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
rows = [{"image": bytes.fromhex(one), "id": index} for index, one in enumerate(json.load(sys.stdin))]
target = fastnorm.Target(fastnorm.CLIP, size=24, resample="bicubic", crop=fastnorm.Crop())
preprocess = fastnorm.Preprocess("image", pixel_values=target)
found = ray.data.from_items(rows).map_batches(preprocess, batch_size=3).take_all()
print(json.dumps([[row["id"], row["pixel_values"].tobytes().hex()] for row in found]))
"""


def test_ray_data():
    told = json.dumps([png(index).hex() for index in range(4)])
    environment = {**os.environ, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", RAY], input=told, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = dict(json.loads(done.stdout.splitlines()[-1]))
    ours = np.stack([np.frombuffer(bytes.fromhex(found[index]), np.float32).reshape(3, 24, 24) for index in range(4)])
    assert torch.equal(torch.from_numpy(ours), expected(range(4)))
