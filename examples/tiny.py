"""What the examples train with, offline and in seconds: generated JPEG files, and models with few random weights.

In your own loop, your files, `from_pretrained` and your tokenizer stand in their place.
"""

import io
import pathlib
import random
import sys
import tarfile
import tempfile
import zlib

import numpy as np
import torch
from PIL import Image

COUNT, BATCH = 20, 2  # files, and how many of them make a batch: ten batches an epoch
SIZES = ((600, 800), (800, 600), (513, 770), (1031, 640), (640, 640), (555, 741))  # (height, width)


def make_images(folder, count=COUNT):
    """Write JPEG files 00.jpg, 01.jpg, ... of smooth random colours; one of them is grayscale."""
    generator = np.random.default_rng(0)
    for index in range(count):
        height, width = SIZES[index % len(SIZES)]
        colours = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        image = Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)
        image = image.convert("L") if index == 3 else image
        image.save(pathlib.Path(folder) / f"{index:02}.jpg", quality=90)


def files(folder):
    """The paths of the folder's images, in order."""
    return sorted(pathlib.Path(folder).glob("*.jpg"))


def tar(folder):
    """The path of a tar file of the folder's images, each with its class, as WebDataset reads them."""
    path = pathlib.Path(folder) / "images.tar"
    with tarfile.open(path, "w") as archive:
        for index, file in enumerate(files(folder)):
            archive.add(file, file.name)
            label = str(index % 5).encode()
            member = tarfile.TarInfo(f"{file.stem}.cls")
            member.size = len(label)
            archive.addfile(member, io.BytesIO(label))
    return str(path)


def tokens(text):
    """Token ids (1, 77), as a CLIP tokenizer gives them with `return_tensors="pt"`: a number for each word."""
    words = [zlib.crc32(word.encode()) % 97 + 1 for word in text.split()]
    return torch.tensor([[98, *words, *[99] * 76][:77]])


def seeded(make):
    """What a function without arguments makes with the same weights every time, in evaluation mode."""

    def made():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return make().eval()

    return made


@seeded
def vae():
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[4] * 4,
        layers_per_block=0,  # nothing between the downsamplings: at 1024 pixels it would take most of the time
        norm_num_groups=2,
        mid_block_add_attention=False,
    )


def _unet(**options):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        down_block_types=["DownBlock2D"] * 3 + ["CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D"] + ["UpBlock2D"] * 3,
        block_out_channels=[4, 4, 4, 16],
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=32,
        attention_head_dim=4,
        **options,
    )


@seeded
def unet():
    return _unet()


@seeded
def sdxl_unet():
    """Told six numbers about sizes and crops, and the pooled text."""
    return _unet(
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 32
    )


@seeded
def text_encoder():
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    return CLIPTextModelWithProjection(
        CLIPTextConfig(vocab_size=100, projection_dim=32, bos_token_id=98, eos_token_id=99, **sizes)
    )


@seeded
def image_encoder():
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    return CLIPVisionModelWithProjection(CLIPVisionConfig(projection_dim=32, image_size=224, patch_size=32, **sizes))


@seeded
def image_projection():
    """IP-Adapter's: an image's embedding to four tokens beside the text's."""
    from diffusers.models.embeddings import ImageProjection

    return ImageProjection(image_embed_dim=32, cross_attention_dim=32, num_image_text_embeds=4)


@seeded
def vit():
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    return ViTForImageClassification(ViTConfig(image_size=224, patch_size=32, num_labels=5, **sizes))


@seeded
def classifier():
    """Images (N, 3, H, W) of any size to five classes."""
    convolution = torch.nn.Conv2d(3, 8, 8, stride=8)
    return torch.nn.Sequential(
        convolution, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5)
    )


def train(model, batches, steps):
    """An ordinary loop over (images, labels): the losses, and the images that were fed."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses, fed = [], []
    for _, (images, labels) in zip(range(steps), batches, strict=False):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        fed.append((images, labels))
    return losses, fed


def epoch(script, folder):
    """The image tensors of each batch that a script's data part gives, after the same seeds every time."""
    torch.manual_seed(0)
    random.seed(0)
    for batch in script.batches(folder):
        tensors = batch.values() if hasattr(batch, "values") else batch
        yield [tensor for tensor in tensors if isinstance(tensor, torch.Tensor) and tensor.ndim == 4]


def samples(script, folder):
    """How many samples an epoch of a script's data part has, all of which are made."""
    return sum(len(tensors[0]) for tensors in epoch(script, folder))


def recorded(model):
    """Lists to which every later call of a transformers model adds: its loss, and the tensors it was fed."""
    losses, fed = [], []
    model.register_forward_hook(
        lambda _, __, inputs, output: (losses.append(output.loss.item()), fed.append(tuple(inputs.values())), None)[2],
        with_kwargs=True,
    )
    return losses, fed


def run(main):
    """Of the command line: train on a folder's JPEG files, or on generated ones, and print the losses."""
    if len(sys.argv) > 1:
        losses, _ = main(sys.argv[1], COUNT // BATCH)
    else:
        with tempfile.TemporaryDirectory() as folder:
            make_images(folder)
            losses, _ = main(folder, COUNT // BATCH)
    for step, loss in enumerate(losses):
        print(f"step {step}: loss {loss:.6f}")
