"""`Preprocess`, `PackedImages` and `Prefetcher` inside the loops of the packages that people train with.

Run with `--loops`, where the extra `loops` is installed.
"""

import io
import json
import os
import socket

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import fastnorm
import processes_for_tests
from fastnorm import Crop, PackedImages, Prefetcher, Preprocess, Target, collate_images
from helpers import random_pixels

# What these packages deprecate among one another is not ours to fix.
pytestmark = [pytest.mark.loops, pytest.mark.filterwarnings("default")]

TARGET = Target(fastnorm.CLIP, size=24, resample="bicubic", crop=Crop())
COUNT = 10


def random_image(index):
    return Image.fromarray(random_pixels(40 + index, 50, 3, seed=index).numpy())


def png(index):
    file = io.BytesIO()
    random_image(index).save(file, "PNG")
    return file.getvalue()


def expected(indices):
    return fastnorm.fused_preprocess([random_image(index) for index in indices], [TARGET])[0]


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


def write_fingerprint(_, path):
    from datasets.fingerprint import Hasher

    path.write_text(Hasher.hash(Preprocess("image", pixel_values=TARGET)))


def test_datasets_fingerprint_is_the_same_in_every_process(preprocess, tmp_path):
    from datasets.fingerprint import Hasher

    processes_for_tests.spawn(write_fingerprint, (tmp_path / "there",))

    preprocess({"image": random_image(0)})
    assert Hasher.hash(preprocess) == (tmp_path / "there").read_text()
    assert Hasher.hash(Preprocess("image", pixel_values=TARGET, flip=True)) != Hasher.hash(preprocess)


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
    return [{"image": random_image(index), "id": index} for index in range(COUNT)]


def packed_loader(kind=DataLoader, data=None, **options):
    return kind(data or samples(), batch_size=2, collate_fn=collate_images("image"), **options)


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


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(samples()[:8])


def share(rank, folder, port):
    """In one of two processes: write which samples it gets of a dataset, and of a stream."""
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    preprocess = Preprocess("image", pixel_values=TARGET)
    datasets = Accelerator(cpu=True)
    with pytest.raises(RuntimeError, match="2 processes"):
        list(Prefetcher(packed_loader(), preprocess, "cpu"))
    streams = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(dispatch_batches=False))
    found = []
    for accelerator, loader in ((datasets, packed_loader(data=samples()[:8])), (streams, packed_loader(data=Stream()))):
        batches = list(Prefetcher(accelerator.prepare(loader), preprocess, "cpu"))
        found.append([batch["id"].tolist() for batch in batches])
        for batch in batches:
            assert torch.equal(batch["pixel_values"], expected(batch["id"].tolist()))
    (folder / str(rank)).write_text(json.dumps(found))


def test_each_process_of_accelerate_gets_its_share(tmp_path):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    processes_for_tests.spawn(share, (tmp_path, port), nprocs=2)
    of_dataset, of_stream = zip(*(json.loads((tmp_path / str(rank)).read_text()) for rank in range(2)), strict=True)
    assert of_dataset == of_stream == ([[0, 1], [4, 5]], [[2, 3], [6, 7]])


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

    packed = PackedImages.pack([random_image(index) for index in range(5)])
    assert extract_batch_size({"image": packed}) == 5
    assert extract_batch_size({"image": packed, "ids": torch.zeros(5, 7)}) == 5


def test_ray_data(preprocess):
    processes_for_tests.start_ray()
    import ray

    rows = [{"image": png(index), "id": index} for index in range(4)]
    rows = ray.data.from_items(rows).map_batches(preprocess, batch_size=3).take_all()
    found = {row["id"]: torch.from_numpy(row["pixel_values"].copy()) for row in rows}
    assert torch.equal(torch.stack([found[index] for index in range(4)]), expected(range(4)))
