"""DistributedDataParallel of two processes, with a DistributedSampler that shuffles anew every epoch.

Run it with `python -m examples.ddp_gloo.before [FOLDER]`.
"""

import pathlib
import tempfile

import torch
from PIL import Image
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torchvision import transforms

from examples import tiny


class Images(Dataset):
    def __init__(self, folder):
        self.files = tiny.files(folder)
        self.transform = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = Image.open(self.files[index]).convert("RGB")
        return {"pixel_values": self.transform(image), "index": index}


def batches(folder, rank=0, world=2):
    dataset = Images(folder)
    return DataLoader(dataset, tiny.BATCH, sampler=DistributedSampler(dataset, world, rank), num_workers=1)


def train(rank, folder, steps, shared):
    distributed.init_process_group("gloo", init_method=f"file://{shared}/rendezvous", rank=rank, world_size=2)
    model = DistributedDataParallel(tiny.classifier())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses, fed = [], []
    loader = batches(folder, rank)
    for epoch in range(-(-steps // len(loader))):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            loss = torch.nn.functional.cross_entropy(model(batch["pixel_values"]), batch["index"] % 5)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            fed.append((batch["pixel_values"], batch["index"]))
    torch.save((losses[:steps], fed[:steps]), f"{shared}/{rank}.pt")
    distributed.destroy_process_group()


def main(folder, steps):
    """What both processes saw, one after the other."""
    with tempfile.TemporaryDirectory() as shared:
        multiprocessing.spawn(train, (folder, steps, shared), nprocs=2)
        results = [torch.load(pathlib.Path(shared, f"{rank}.pt")) for rank in range(2)]
    return results[0][0] + results[1][0], results[0][1] + results[1][1]


if __name__ == "__main__":
    tiny.run(main)
