"""`before.py` with fastnorm: `state_dict` is that of the last batch that the loop has seen.

Run it with `python -m examples.torchdata_resume.after [FOLDER]`.
"""

import torch
from PIL import Image
from torch.utils.data import Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

import fastnorm
from examples import tiny


class Images(Dataset):
    def __init__(self, folder):
        self.files = tiny.files(folder)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return {"image": Image.open(self.files[index]), "index": index}


def batches(folder):
    generator = torch.Generator().manual_seed(0)
    collate = fastnorm.collate_images("image")
    loader = StatefulDataLoader(
        Images(folder), tiny.BATCH, shuffle=True, num_workers=2, generator=generator, collate_fn=collate
    )
    preprocess = fastnorm.Preprocess("image", pixel_values=fastnorm.IMAGENET_224)
    return fastnorm.Prefetcher(loader, preprocess, "cpu")


def main(folder, steps):
    model = tiny.classifier()
    losses, fed, state = [], [], None
    for until in (steps // 3, steps):  # the second round is a new process, in your run
        loader = batches(folder)
        if state is not None:
            loader.load_state_dict(state)
        for batch in loader:
            loss = torch.nn.functional.cross_entropy(model(batch["pixel_values"]), batch["index"] % 5)
            loss.backward()
            with torch.no_grad():
                for weight in model.parameters():
                    weight -= 0.1 * weight.grad
                    weight.grad = None
            losses.append(loss.item())
            fed.append((batch["pixel_values"], batch["index"]))
            if len(losses) == until:
                state = loader.state_dict()
                break
    return losses, fed


if __name__ == "__main__":
    tiny.run(main)
