"""`before.py` with fastnorm: on a GPU the module's hook preprocesses, on a CPU the workers do.

Run it with `python -m examples.lightning_module.after [FOLDER]`.
"""

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import fastnorm
from examples import tiny

preprocess = fastnorm.Preprocess("image", pixel_values=fastnorm.IMAGENET_224)


class Images(Dataset):
    def __init__(self, folder):
        self.files = tiny.files(folder)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return {"image": Image.open(self.files[index]), "label": index % 5}


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.model = tiny.classifier()
        self.losses, self.fed = [], []

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return preprocess(batch) if "image" in batch else batch

    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.cross_entropy(self.model(batch["pixel_values"]), batch["label"])
        self.losses.append(loss.item())
        self.fed.append((batch["pixel_values"], batch["label"]))
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(folder, device):
    collate = fastnorm.collate_images("image", preprocess=None if device.type == "cuda" else preprocess)
    return DataLoader(Images(folder), tiny.BATCH, shuffle=True, num_workers=2, collate_fn=collate)


def batches(folder):
    return loader(folder, torch.device("cpu"))


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
    trainer.fit(module, loader(folder, trainer.strategy.root_device))
    return module.losses, module.fed


if __name__ == "__main__":
    tiny.run(main)
