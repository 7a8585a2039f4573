"""`before.py` with fastnorm: uint8 batches go to the model's device, in the place of timm's PrefetchLoader.

Run it with `python -m examples.timm_loader.after [FOLDER]`.
"""

from PIL import Image
from torch.utils.data import DataLoader, Dataset

import fastnorm
from examples import tiny

# 256 is 224 / 0.875. PrefetchLoader computes (x - mean * 255) / (std * 255), whose last bits are others.
TARGET = fastnorm.Target(fastnorm.IMAGENET, size=256, resample="bicubic", crop=224)


class Images(Dataset):
    def __init__(self, folder):
        self.files = tiny.files(folder)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return {"image": Image.open(self.files[index]), "label": index % 5}


def batches(folder):
    loader = DataLoader(Images(folder), tiny.BATCH, num_workers=2, collate_fn=fastnorm.collate_images("image"))
    preprocess = fastnorm.Preprocess("image", pixel_values=TARGET)
    for batch in fastnorm.Prefetcher(loader, preprocess, "cpu"):
        yield batch["pixel_values"], batch["label"]


def main(folder, steps):
    return tiny.train(tiny.classifier(), batches(folder), steps)


if __name__ == "__main__":
    tiny.run(main)
