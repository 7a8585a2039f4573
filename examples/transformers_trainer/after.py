"""`before.py` with fastnorm: one `Preprocess` in place of the processor and its function.

Run it with `python -m examples.transformers_trainer.after [FOLDER]`.
"""

import tempfile

import datasets
import torch
from transformers import Trainer, TrainingArguments

import fastnorm
from examples import tiny

TARGET = fastnorm.Target(fastnorm.SIGLIP, size=(224, 224), resample="bilinear")
transform = fastnorm.Preprocess("image", pixel_values=TARGET)


def collate_fn(examples):
    return {
        "pixel_values": torch.stack([example["pixel_values"] for example in examples]),
        "labels": torch.tensor([example["labels"] for example in examples]),
    }


def trainer(folder, model, steps, output):
    files = list(map(str, tiny.files(folder)))
    table = datasets.Dataset.from_dict({"image": files, "labels": [index % 5 for index in range(len(files))]})
    prepared = table.cast_column("image", datasets.Image()).with_transform(transform)
    arguments = TrainingArguments(
        output,
        max_steps=steps,
        per_device_train_batch_size=tiny.BATCH,
        remove_unused_columns=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    return Trainer(model, arguments, data_collator=collate_fn, train_dataset=prepared)


def batches(folder):
    with tempfile.TemporaryDirectory() as output:
        return trainer(folder, tiny.vit(), tiny.COUNT // tiny.BATCH, output).get_train_dataloader()


def main(folder, steps):
    model = tiny.vit()
    losses, fed = tiny.recorded(model)
    with tempfile.TemporaryDirectory() as output:
        trainer(folder, model, steps, output).train()
    return losses, fed


if __name__ == "__main__":
    tiny.run(main)
