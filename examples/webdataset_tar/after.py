"""`before.py` with fastnorm: `.map` is given the encoded files.

Run it with `python -m examples.webdataset_tar.after [FOLDER]`.
"""

import torch
import webdataset
from torch.utils.data import DataLoader

import fastnorm
from examples import tiny

PREPROCESS = fastnorm.Preprocess("jpg", pixel_values=fastnorm.DINOV2_224)


def batches(folder):
    samples = webdataset.WebDataset(tiny.tar(folder), shardshuffle=False, empty_check=False)
    samples = samples.map(PREPROCESS).map_dict(cls=int)
    samples = samples.to_tuple("pixel_values", "cls")
    return DataLoader(samples, tiny.BATCH, num_workers=1)


def main(folder, steps):
    torch.manual_seed(0)
    return tiny.train(tiny.classifier(), batches(folder), steps)


if __name__ == "__main__":
    tiny.run(main)
