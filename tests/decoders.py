"""JPEG decoders beside Pillow, on generated files: the tables of docs/decoders.md, which this prints as a script."""

import importlib.metadata
import importlib.util
import io

import numpy as np
import torch
from PIL import Image, ImageOps

ORIENTATION, TURNED = 0x0112, 6  # the EXIF tag, and its value for a camera held upright


def jpeg(mode="RGB", size=(96, 64), **options):
    """A JPEG file of random colours, as bytes."""
    codes = np.random.default_rng(0).integers(0, 256, (len(mode), 8, 12), dtype=np.uint8)
    channels = [Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC) for plane in codes]
    file = io.BytesIO()
    Image.merge(mode, channels).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def files():
    """By name."""
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED
    return {
        "4:2:0": jpeg(subsampling=2),
        "4:4:4": jpeg(subsampling=0),
        "progressive": jpeg(subsampling=2, progressive=True),
        "odd sides": jpeg(subsampling=2, size=(101, 67)),
        "grayscale": jpeg("L"),
        "CMYK": jpeg("CMYK"),
        "EXIF 6": jpeg(subsampling=2, exif=exif.tobytes()),
    }


def decoders():
    """By call: functions from a file's bytes to pixels, as their packages' documentation shows them."""
    import cv2
    import imageio.v3
    import kornia_rs
    import simplejpeg
    import torchvision.io

    def torchvision_jpeg(data, **options):
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return torchvision.io.decode_jpeg(encoded, mode=torchvision.io.ImageReadMode.RGB, **options).permute(1, 2, 0)

    def opencv(flags):
        return lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), flags)

    found = {}
    if importlib.util.find_spec("torchcodec"):  # whose releases follow torch's
        import torchcodec.decoders

        found["torchcodec `decode_jpeg`"] = lambda data: torchcodec.decoders.decode_jpeg(data).permute(1, 2, 0)
    unturned = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return found | {
        "torchvision `decode_jpeg(mode=RGB)`": torchvision_jpeg,
        "... `apply_exif_orientation=True`": lambda data: torchvision_jpeg(data, apply_exif_orientation=True),
        "simplejpeg `decode_jpeg`": simplejpeg.decode_jpeg,
        "... `fastdct=True`": lambda data: simplejpeg.decode_jpeg(data, fastdct=True),
        "... `fastupsample=True`": lambda data: simplejpeg.decode_jpeg(data, fastupsample=True),
        "OpenCV `imdecode(IMREAD_COLOR)`": opencv(cv2.IMREAD_COLOR),
        "... `IMREAD_COLOR_RGB`": opencv(cv2.IMREAD_COLOR_RGB),
        "... and `IMREAD_IGNORE_ORIENTATION`": opencv(unturned),
        'imageio `imread(mode="RGB")`': lambda data: imageio.v3.imread(data, extension=".jpg", mode="RGB"),
        "... without a mode": lambda data: imageio.v3.imread(data, extension=".jpg"),
        "kornia_rs `decode_image_jpeg`": kornia_rs.io.decode_image_jpeg,
        "... `decode_image_jpegturbo`": lambda data: kornia_rs.io.decode_image_jpegturbo(data, "rgb"),
    }


DISTRIBUTIONS = ("pillow", "torchcodec", "torchvision", "simplejpeg", "opencv-python-headless", "imageio", "kornia_rs")


def outcome(decode, data):
    """What a decoder makes of a file, in comparison with Pillow's `convert("RGB")`."""
    stored = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    upright = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    try:
        pixels = np.asarray(decode(data))
    except Warning:  # an error where the tests run; not about the file
        raise
    except Exception:  # whatever a package raises for what it does not read
        return "error"
    found = []
    for expected, turned in ((stored, ""), (upright, "turned upright")):
        for order, name in ((slice(None), ""), (slice(None, None, -1), "BGR")):
            if pixels.shape == expected.shape:
                most = np.abs(pixels[..., order].astype(int) - expected).max()
                words = [word for word in (turned, name, f"up to {most} off" if most else "") if word]
                found.append((most, ", ".join(words) or "equal"))
    if not found:
        return " x ".join(map(str, pixels.shape))
    return min(found, key=lambda one: one[0])[1]  # the first of equals: a gray image is not turned, and not BGR


def outcomes():
    """By decoder and file."""
    return {
        name: {kind: outcome(decode, data) for kind, data in files().items()} for name, decode in decoders().items()
    }


def table():
    found = outcomes()
    kinds = list(files())
    rows = [["decoder", *kinds], ["---"] * (len(kinds) + 1)]
    rows += [[name, *(found[name][kind] for kind in kinds)] for name in found]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def versions():
    installed = [name for name in DISTRIBUTIONS if list(importlib.metadata.distributions(name=name))]
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in installed)


if __name__ == "__main__":
    print(f"{versions()}\n\n{table()}")
