"""timm's `create_loader`, which resizes and normalises in the workers.

Run it with `python -m examples.timm_loader.before [FOLDER]`.
"""

from PIL import Image
from timm.data import create_loader
from torch.utils.data import Dataset

from examples import tiny

CONFIG = {
    "input_size": (3, 224, 224),
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}


class Images(Dataset):
    def __init__(self, folder):
        self.files = tiny.files(folder)
        self.transform = None

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = Image.open(self.files[index]).convert("RGB")
        return self.transform(image), index % 5


def batches(folder):
    return create_loader(
        Images(folder),
        batch_size=tiny.BATCH,
        is_training=False,
        num_workers=2,
        use_prefetcher=False,
        persistent_workers=False,
        **CONFIG,
    )


def main(folder, steps):
    return tiny.train(tiny.classifier(), batches(folder), steps)


if __name__ == "__main__":
    tiny.run(main)
