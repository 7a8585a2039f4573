"""Every row of the table in `fastnorm.data.decode`, with files made here."""

import os
import re

import numpy as np
import pytest
from PIL import Image, ImageOps

import fastnorm
from fastnorm.data.dataset import ImageFiles, collate
from fastnorm.data.decode import ImageError, read_rgb
from fastnorm.data.files import IMAGE_SUFFIXES, PHOTOS, find_images, shipped_photographs

WIDTH, HEIGHT = 24, 16
ORIENTATION = 0x0112


def colours(width=WIDTH, height=HEIGHT):
    """A smooth RGB image in which every corner differs."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(np.uint8)
    )


def saved(folder, name, image, **options):
    path = folder / name
    image.save(path, **options)
    return path


def same(left, right):
    return np.array_equal(np.asarray(left), np.asarray(right))


def error_of(path, **options):
    with pytest.raises(ImageError) as caught:
        read_rgb(path, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert re.search(r": got .*, expected .*; ", text)
    assert "\n" not in text
    return text


def test_rgb_is_taken_as_it_is(tmp_path):
    decoded = read_rgb(saved(tmp_path, "a.png", colours()))
    assert decoded.notes == ()
    assert decoded.image.mode == "RGB"
    assert same(decoded.image, colours())


@pytest.mark.parametrize(
    ("mode", "name"), [("L", "a.png"), ("P", "a.png"), ("1", "a.png"), ("CMYK", "a.jpg"), ("LAB", "a.tif")]
)
def test_other_8_bit_modes_become_rgb_as_pillow_converts_them(tmp_path, mode, name):
    path = saved(tmp_path, name, colours().convert(mode))
    with Image.open(path) as image:
        assert image.mode == mode
        wanted = image.convert("RGB")
    assert same(read_rgb(path).image, wanted)


def turned(folder, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(folder, "a.png", colours(), exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_ignored_with_a_note_as_the_library_ignores_it(tmp_path, orientation):
    path = turned(tmp_path, orientation)
    decoded = read_rgb(path)
    with Image.open(path) as stored:
        assert same(decoded.image, fastnorm.PackedImages.pack([stored])[0])
    assert same(decoded.image, colours())
    assert [note.partition(",")[0] for note in decoded.notes] == ["an EXIF orientation"] * (orientation > 1)


def test_exif_orientation_can_be_refused(tmp_path):
    assert "an EXIF orientation of 6" in (text := error_of(turned(tmp_path, 6), exif="error"))
    assert "exif='ignore'" in text
    assert "exif='apply'" in text
    assert same(read_rgb(turned(tmp_path, 1), exif="error").image, colours())


def test_a_damaged_exif_tag_is_no_reason_to_refuse_an_image(tmp_path):
    path = saved(tmp_path, "a.jpg", colours(), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\xff")
    assert read_rgb(path).image.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_can_be_applied(tmp_path, orientation):
    path = turned(tmp_path, orientation)
    with Image.open(path) as stored:
        wanted = ImageOps.exif_transpose(stored)
    decoded = read_rgb(path, exif="apply")
    assert decoded.notes == ()
    image = decoded.image
    assert image.size == ((WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH))
    assert same(image, wanted)
    assert same(image, colours()) == (orientation == 1)


def with_alpha(kind, alpha):
    """An image of each kind that Pillow can store transparency in; `alpha` is that of its left half."""
    mask = Image.new("L", (WIDTH, HEIGHT), 255)
    mask.paste(alpha, (0, 0, WIDTH // 2, HEIGHT))
    image = colours().convert("RGB" if kind == "RGBA" else "L")
    image.putalpha(mask)
    return image


@pytest.mark.parametrize("kind", ["RGBA", "LA"])
@pytest.mark.parametrize("alpha", ["error", "drop", "white"])
def test_opaque_alpha_is_dropped(tmp_path, kind, alpha):
    path = saved(tmp_path, "a.png", with_alpha(kind, 255))
    assert same(read_rgb(path, alpha).image, with_alpha(kind, 255).convert("RGB"))


@pytest.mark.parametrize("kind", ["RGBA", "LA"])
def test_transparent_pixels_need_a_choice(tmp_path, kind):
    path = saved(tmp_path, "a.png", with_alpha(kind, 0))
    text = error_of(path)
    assert "choose alpha='drop', as torchvision pipelines do" in text
    assert "or alpha='white'" in text

    dropped = np.asarray(read_rgb(path, "drop").image)
    assert same(dropped, with_alpha(kind, 0).convert("RGB"))
    on_white = np.asarray(read_rgb(path, "white").image)
    assert (on_white[:, : WIDTH // 2] == 255).all()
    assert same(on_white[:, WIDTH // 2 :], dropped[:, WIDTH // 2 :])


def transparent_colour(kind):
    """Pillow's image and save option for one transparent colour: that of the top left pixel."""
    image = colours().convert(kind)
    return image, image.getpixel((0, 0))


@pytest.mark.parametrize("kind", ["P", "L", "RGB"])
def test_a_transparent_colour_counts_as_transparency(tmp_path, kind):
    image, colour = transparent_colour(kind)
    path = saved(tmp_path, "a.png", image, transparency=colour)
    assert "transparent pixels" in error_of(path)
    assert same(read_rgb(path, "drop").image, image.convert("RGB"))
    assert read_rgb(path, "white").image.getpixel((0, 0)) == (255, 255, 255)


def test_a_transparent_colour_that_no_pixel_has_is_ignored(tmp_path):
    image = Image.new("P", (WIDTH, HEIGHT), 1)
    image.putpalette([200, 0, 0, 0, 100, 0])
    path = saved(tmp_path, "a.png", image, transparency=0)
    assert read_rgb(path).image.getpixel((3, 3)) == (0, 100, 0)


@pytest.mark.parametrize(
    ("kind", "name", "mode"),
    [
        ("<u2", "a.png", "I;16"),
        ("<u2", "a.tif", "I;16"),
        (">u2", "a.tif", "I;16B"),
        ("<i4", "a.tif", "I"),
        ("<f4", "a.tif", "F"),
    ],
)
def test_deep_grayscale_is_refused_instead_of_clipped(tmp_path, kind, name, mode):
    values = np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(kind)
    text = error_of(saved(tmp_path, name, Image.fromarray(values)))
    assert f"mode {mode})" in text
    assert "PIL.Image.fromarray" in text


def test_the_first_frame_is_used_and_noted(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    decoded = read_rgb(saved(tmp_path, "a.gif", frames[0], save_all=True, append_images=frames[1:]))
    assert decoded.image.getpixel((4, 4)) == (255, 0, 0)
    assert decoded.notes == ("holds 3 frames or pages; the first is used",)


def test_implausibly_many_pixels(tmp_path, monkeypatch):
    path = saved(tmp_path, "a.png", colours())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT - 1)
    decoded = read_rgb(path)
    assert same(decoded.image, colours())
    assert len(decoded.notes) == 1
    assert "exceeds limit" in decoded.notes[0]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT // 3)
    assert "exceeds limit" in error_of(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.gif", "a.tif", "a.webp", "a.ppm"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_an_error_never_half_an_image(tmp_path, name, kept):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = saved(tmp_path, name, noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    error_of(path)


def test_a_damaged_file_is_an_error(tmp_path):
    path = saved(tmp_path, "a.png", colours())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert "a file that cannot be read" in error_of(path)


@pytest.mark.parametrize(
    ("name", "content", "got"),
    [
        ("a.jpg", b"", "an empty file (0 bytes)"),
        ("a.jpg", b"not an image", "a file that Pillow does not recognise"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "a file that"),
        ("a.heic", b"\0\0\0\x18ftypheic", "a HEIC file"),
    ],
)
def test_a_file_that_is_no_image_is_an_error(tmp_path, name, content, got):
    path = tmp_path / name
    path.write_bytes(content)
    assert got in error_of(path)


def test_a_missing_file_is_an_error(tmp_path):
    assert "No such file" in error_of(tmp_path / "gone.jpg")


def test_the_error_line_stays_one_line_whatever_the_name(tmp_path):
    path = tmp_path / "a\nb.jpg"
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"a\?b\.jpg: got an empty file"):
        read_rgb(path)


TARGETS = {"vae": fastnorm.VAE_512, "clip": fastnorm.CLIP_224}


def test_the_dataset_gives_decoded_images_and_errors_as_values(tmp_path):
    good, other = saved(tmp_path, "good.png", colours()), saved(tmp_path, "other.png", colours(9, 31))
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    dataset = ImageFiles([bad, good, other], "error", "ignore", TARGETS)
    batch = collate([dataset[index] for index in range(len(dataset))])
    assert batch.paths == [str(good), str(other)]
    assert batch.errors == [f"{bad}: got an empty file (0 bytes), expected an image; copy or save it again"]
    assert batch.attempted == 3
    assert batch.images is not None
    assert batch.images.sizes == ((HEIGHT, WIDTH), (31, 9)), "their own sizes"
    assert same(batch.images[0].numpy(), colours())
    assert same(batch.images[1].numpy(), colours(9, 31))


def test_a_strip_that_no_batch_can_hold_is_an_error_of_its_file(tmp_path):
    thin = saved(tmp_path, "thin.png", Image.new("RGB", (1, 60000)))
    sample = ImageFiles([thin], "error", "ignore", TARGETS)[0]
    assert sample.pixels is None
    assert sample.error.startswith(f"{thin}: vae: the image of 60000 x 1 pixels would become 30720000 x 512, expected ")
    with pytest.raises(ValueError, match="60000 x 1 pixels would become 30720000 x 512"):
        fastnorm.fused_dual_preprocess([Image.open(thin)])
    assert (
        ImageFiles([thin], "error", "ignore", {"clip": fastnorm.Target(fastnorm.CLIP, 8, crop=8)})[0].pixels is not None
    )


def test_a_batch_of_errors_has_no_images(tmp_path):
    batch = collate([ImageFiles([tmp_path / "gone.png"], "error", "ignore", TARGETS)[0]])
    assert batch.images is None
    assert len(batch.errors) == 1


def test_folders_are_searched_to_the_bottom_in_order(tmp_path):
    wanted = [tmp_path / "B.JPG", tmp_path / "a.png", tmp_path / "sub" / "deep" / "c.webp"]
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    for path in (*wanted, tmp_path / "notes.txt"):
        path.write_bytes(b"")
    assert find_images([tmp_path]) == (wanted, [])


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path):
    path = tmp_path / "image.data"
    path.write_bytes(b"")
    assert find_images([path]) == ([path], [])


def test_an_empty_folder_and_a_missing_path_are_errors(tmp_path):
    found = find_images([tmp_path, tmp_path / "gone"])
    assert found.files == []
    assert "a folder without image files" in found.errors[0]
    assert all(suffix in found.errors[0] for suffix in IMAGE_SUFFIXES)
    assert found.errors[1].startswith(f"{tmp_path / 'gone'}: got no such file or folder, ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_without_opening_it(tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    assert "neither a file nor a folder" in find_images([pipe]).errors[0]
    assert find_images([tmp_path]).files == []


def test_the_shipped_photographs_are_sound():
    photographs = shipped_photographs()
    assert len(photographs) == 5
    sources = (PHOTOS / "SOURCES.md").read_text(encoding="utf-8")
    sizes = {}
    for path in photographs:
        assert f"| `{path.name}` |" in sources, "every photograph states its source and licence"
        decoded = read_rgb(path)
        assert decoded.notes == (), "no EXIF orientation either"
        sizes[path.name] = decoded.image.size
        assert max(decoded.image.size) <= 640
    assert any(height > width for width, height in sizes.values()), "one is upright"
    assert sum(path.stat().st_size for path in photographs) < 400_000
