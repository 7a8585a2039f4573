"""torchvision's RandomResizedCrop and RandomHorizontalFlip, as for training a classifier.

Run it with `python -m examples.random_resized_crop.before [FOLDER]`.
"""

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from examples import tiny


class Images(Dataset):
    def __init__(self, folder):
        self.files = tiny.files(folder)
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(224),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = Image.open(self.files[index]).convert("RGB")
        return self.transform(image), index % 5


def batches(folder):
    return DataLoader(Images(folder), tiny.BATCH, shuffle=True, num_workers=2)


def main(folder, steps):
    torch.manual_seed(0)
    return tiny.train(tiny.classifier(), batches(folder), steps)


if __name__ == "__main__":
    tiny.run(main)
