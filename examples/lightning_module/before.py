"""A LightningModule, with torchvision's transform in the dataset.

Run it with `python -m examples.lightning_module.before [FOLDER]`.
"""

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from PIL import Image
from torch.utils.data import DataLoader, Dataset
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
        return {"pixel_values": self.transform(image), "label": index % 5}


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.model = tiny.classifier()
        self.losses, self.fed = [], []

    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.cross_entropy(self.model(batch["pixel_values"]), batch["label"])
        self.losses.append(loss.item())
        self.fed.append((batch["pixel_values"], batch["label"]))
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(folder):
    return DataLoader(Images(folder), tiny.BATCH, shuffle=True, num_workers=2)


def batches(folder):
    return loader(folder)


def main(folder, steps):
    seed_everything(0, verbose=False)
    module = Module()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader(folder))
    return module.losses, module.fed


if __name__ == "__main__":
    tiny.run(main)
