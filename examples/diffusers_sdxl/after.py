"""`before.py` with fastnorm: the same numbers drawn from the same seed.

Run it with `python -m examples.diffusers_sdxl.after [FOLDER]`.
"""

import datasets
import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers import DDPMScheduler
from torch.utils.data import DataLoader

import fastnorm
from examples import tiny

RESOLUTION = 512
TARGET = fastnorm.Target(fastnorm.VAE, size=RESOLUTION, resample="lanczos", crop=fastnorm.Crop(position="random"))


def preprocess_train(examples):
    images = [image.convert("RGB") for image in examples["image"]]
    (pixel_values,), (crop_top_lefts,) = fastnorm.fused_preprocess(
        images, [TARGET], flip="random", flip_before_crop=True, return_offsets=True
    )
    examples["original_sizes"] = [(image.height, image.width) for image in images]
    examples["crop_top_lefts"] = crop_top_lefts.tolist()
    examples["pixel_values"] = list(pixel_values)
    return examples


def collate_fn(examples):
    pixel_values = torch.stack([example["pixel_values"] for example in examples])
    sizes = [(*one["original_sizes"], *one["crop_top_lefts"], RESOLUTION, RESOLUTION) for one in examples]
    ids = torch.cat([tiny.tokens(example["text"]) for example in examples])
    return {"pixel_values": pixel_values, "time_ids": torch.tensor(sizes), "input_ids": ids}


def batches(folder):
    columns = {"image": list(map(str, tiny.files(folder))), "text": [path.stem for path in tiny.files(folder)]}
    table = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    train_dataset = table.with_transform(preprocess_train)
    loader = DataLoader(train_dataset, tiny.BATCH, shuffle=True, collate_fn=collate_fn)
    return Accelerator().prepare(loader)


def main(folder, steps):
    accelerator = Accelerator()
    vae, unet, text_encoder, scheduler = tiny.vae(), tiny.sdxl_unet(), tiny.text_encoder(), DDPMScheduler()
    for frozen in (vae, text_encoder):
        frozen.requires_grad_(False).to(accelerator.device)
    unet, optimizer = accelerator.prepare(unet, torch.optim.AdamW(unet.parameters(), lr=1e-3))
    set_seed(0)
    losses, fed = [], []
    for _, batch in zip(range(steps), batches(folder), strict=False):
        latents = vae.encode(batch["pixel_values"]).latent_dist.sample() * vae.config.scaling_factor
        text = text_encoder(batch["input_ids"])
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, scheduler.config.num_train_timesteps, latents.shape[:1], device=latents.device)
        noisy = scheduler.add_noise(latents, noise, timesteps)
        added = {"text_embeds": text.text_embeds, "time_ids": batch["time_ids"]}
        predicted = unet(noisy, timesteps, text.last_hidden_state, added_cond_kwargs=added).sample
        loss = F.mse_loss(predicted.float(), noise.float())
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        fed.append((batch["pixel_values"], batch["time_ids"]))
    return losses, fed


if __name__ == "__main__":
    tiny.run(main)
