"""WebDataset: samples of a tar file, decoded by `.decode("pil")`, torchvision's transform in `.map_dict`.

Run it with `python -m examples.webdataset_tar.before [FOLDER]`.
"""

import torch
import webdataset
from torch.utils.data import DataLoader
from torchvision import transforms

from examples import tiny

TRANSFORM = transforms.Compose(
    [
        transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def batches(folder):
    samples = webdataset.WebDataset(tiny.tar(folder), shardshuffle=False, empty_check=False)
    samples = samples.decode("pil")
    samples = samples.rename(pixel_values="jpg", label="cls").map_dict(pixel_values=TRANSFORM)
    samples = samples.to_tuple("pixel_values", "label")
    return DataLoader(samples, tiny.BATCH, num_workers=1)


def main(folder, steps):
    torch.manual_seed(0)
    return tiny.train(tiny.classifier(), batches(folder), steps)


if __name__ == "__main__":
    tiny.run(main)
