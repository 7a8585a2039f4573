"""`before.py` with fastnorm: torchvision's own numbers, and the pixels that they name in one call.

Run it with `python -m examples.random_resized_crop.after [FOLDER]`.
"""

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import RandomResizedCrop

import fastnorm
from examples import tiny

TARGET = fastnorm.Target(fastnorm.IMAGENET, size=(224, 224), resample="bilinear")


class Images(Dataset):
    def __init__(self, folder):
        self.files = tiny.files(folder)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = Image.open(self.files[index])
        top, left, height, width = RandomResizedCrop.get_params(image, scale=[0.08, 1.0], ratio=[3 / 4, 4 / 3])
        crop = image.crop((left, top, left + width, top + height))  # of an array: a view, which is sliced
        (pixel_values,) = fastnorm.fused_preprocess(crop, [TARGET], flip=bool(torch.rand(1) < 0.5))
        return pixel_values, index % 5


def batches(folder):
    return DataLoader(Images(folder), tiny.BATCH, shuffle=True, num_workers=2)


def main(folder, steps):
    torch.manual_seed(0)
    return tiny.train(tiny.classifier(), batches(folder), steps)


if __name__ == "__main__":
    tiny.run(main)
