"""A training loader for IP-Adapter: workers decode, one call makes both models' tensors on the training device.

    python examples/ip_adapter_loader.py FOLDER

prints the shapes of each batch of the folder's images.
"""

import pathlib
import sys

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import fastnorm


class Images(Dataset):
    """Decoded images of any sizes; nothing is resized in the workers."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Image.Image:
        return Image.open(self.files[index]).convert("RGB")


def main(folder: str) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loader = DataLoader(
        Images(pathlib.Path(folder)),
        batch_size=8,
        num_workers=2,
        collate_fn=fastnorm.PackedImages.pack,  # one uint8 buffer a batch crosses the process boundary, and the bus
        pin_memory=device == "cuda",
    )
    for packed in loader:
        vae, clip = fastnorm.fused_dual_preprocess(packed, device=device, dtype=torch.bfloat16)
        print(len(packed), "images:", tuple(vae.shape), tuple(clip.shape), vae.device)


if __name__ == "__main__":
    main(sys.argv[1])
