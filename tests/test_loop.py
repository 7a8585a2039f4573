"""`Preprocess`, the collate functions and `Prefetcher`: dictionaries in, dictionaries out, and nothing lost.

What comes out is compared with `fused_preprocess` of the same images, which other tests hold to the published code.
"""

import functools
import gc
import io
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, default_collate

import fastnorm
from fastnorm import CLIP_224, Crop, PackedImages, PictureError, Prefetcher, Preprocess, Target
from fastnorm.data import prefetch
from helpers import random_pixels

SMALL = Target(fastnorm.VAE, size=24, crop=Crop())
OTHER = Target(fastnorm.CLIP, size=(16, 18), resample="bicubic")
PAIR = {"images": SMALL, "clip_images": OTHER}


def random_image(index, height=40, width=50):
    return Image.fromarray(random_pixels(height + index, width, 3).numpy())


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def expected(images, **options):
    return dict(zip(PAIR, fastnorm.fused_preprocess(images, list(PAIR.values()), **options), strict=True))


def assert_equal(sample, wanted):
    for name, tensor in wanted.items():
        assert torch.equal(sample[name], tensor), name


class Described:
    """An image of another library, which lends its memory through numpy's protocol."""

    def __init__(self, pixels):
        self.__array_interface__ = pixels.__array_interface__
        self.pixels = pixels


KINDS = {
    "PIL": lambda image: image,
    "array": np.array,
    "tensor (H, W, 3)": lambda image: torch.from_numpy(np.array(image)),
    "tensor (3, H, W)": lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1),
    "bytes": png,
    "bytearray": lambda image: bytearray(png(image)),
    "flat tensor": lambda image: torch.frombuffer(bytearray(png(image)), dtype=torch.uint8),
    "flat array": lambda image: np.frombuffer(png(image), np.uint8),
    "bytes of datasets": lambda image: {"bytes": png(image), "path": None},
    "array interface": lambda image: Described(np.array(image)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_every_kind(kind):
    image = random_image(0)
    sample = {"text": "a cat", "image": KINDS[kind](image), "id": 7}

    result = Preprocess("image", **PAIR)(sample)

    assert list(result) == ["text", "id", "images", "clip_images"]
    assert (result["text"], result["id"]) == ("a cat", 7)
    assert_equal(result, {name: tensor[0] for name, tensor in expected([image]).items()})
    assert list(sample) == ["text", "image", "id"]  # the caller's own dictionary is as it was


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_every_kind(kind):
    images = [random_image(index) for index in range(3)]
    values = [KINDS[kind](image) for image in images]
    objects = np.empty(3, object)
    objects[:] = values

    for column in (values, tuple(values), objects):
        assert_equal(Preprocess("image", **PAIR)({"image": column}), expected(images))


def test_a_file_that_datasets_has_not_read(tmp_path):
    image = random_image(0)
    image.save(tmp_path / "a.png")

    result = Preprocess("image", **PAIR)({"image": {"bytes": None, "path": str(tmp_path / "a.png")}})

    assert_equal(result, {name: tensor[0] for name, tensor in expected([image]).items()})


def test_batches_that_are_one_object():
    images = [random_image(0), random_image(0)]
    pixels = np.stack([np.array(image) for image in images])

    for batch in (pixels, torch.from_numpy(pixels), PackedImages.pack(images)):
        assert_equal(Preprocess("image", **PAIR)({"image": batch}), expected(images))


def test_the_batch_axis_of_one_image():
    image = random_image(0)
    result = Preprocess("image", batch_axis=True, **PAIR)({"image": image})
    assert_equal(result, expected([image]))  # (1, 3, H, W), as the tutorial's torch.cat takes them


def test_one_of_several_keys():
    preprocess = Preprocess(("jpg", "png"), pixel_values=OTHER)

    assert list(preprocess({"__key__": "a", "png": random_image(0)})) == ["__key__", "pixel_values"]
    with pytest.raises(KeyError, match="expected 'jpg' or 'png'"):
        preprocess({"webp": random_image(0)})
    with pytest.raises(ValueError, match="'jpg' and 'png', expected one"):
        preprocess({"jpg": random_image(0), "png": random_image(0)})


def test_names_that_are_arguments():
    result = Preprocess("image", targets={"device": SMALL}, key2=OTHER)({"image": random_image(0)})
    assert list(result) == ["device", "key2"]


def test_options_reach_the_call():
    transparent = Image.new("RGBA", (30, 30), (200, 10, 10, 0))
    result = Preprocess("image", alpha="white", dtype=torch.bfloat16, flip=True, **PAIR)({"image": [transparent]})
    assert_equal(result, expected([transparent], alpha="white", dtype=torch.bfloat16, flip=True))


BAD = {
    "truncated": png(random_image(0))[:-300],
    "of another type": b"GIF89a of no image at all",
    "empty": b"",
    "absent": None,
    "transparent": Image.new("RGBA", (20, 20), (0, 0, 0, 0)),
    "of four channels": np.zeros((20, 20, 4), np.uint8),
    "without pixels": np.zeros((0, 20, 3), np.uint8),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_image_is_named(bad):
    batch = {"image": [png(random_image(0)), BAD[bad], png(random_image(1))]}

    with pytest.raises(PictureError, match=r"^image: images\[1\]: ") as caught:
        Preprocess("image", **PAIR)(batch)
    assert (caught.value.index, caught.value.key) == (1, "image")

    with pytest.raises(PictureError, match=r"^image: (the image|images): ") as caught:
        Preprocess("image", on_error="skip", **PAIR)({"image": BAD[bad]})  # nothing would be left of the sample
    assert (caught.value.index, caught.value.key) == (None, "image")


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_image_is_skipped_in_every_key(bad):
    images = [random_image(index) for index in range(2)]
    preprocess = Preprocess("image", on_error="skip", **PAIR)
    batch = {
        "image": [BAD[bad], png(images[0]), BAD[bad], png(images[1])],
        "text": ["a", "b", "c", "d"],
        "ids": torch.arange(8).view(4, 2),
        "array": np.arange(4),
        "nested": {"masks": ("p", "q", "r", "s"), "scale": 3},
        "packed": PackedImages.pack([random_image(9, height=8 + index) for index in range(4)]),
        "other length": [1, 2],
    }

    result = preprocess(batch)

    assert_equal(result, expected(images))
    assert result["text"] == ["b", "d"]
    assert result["ids"].tolist() == [[2, 3], [6, 7]]
    assert result["array"].tolist() == [1, 3]
    assert result["nested"] == {"masks": ("q", "s"), "scale": 3}
    assert [size.height for size in result["packed"].sizes] == [18, 20]
    assert result["other length"] == [1, 2]
    assert result["kept"].tolist() == [1, 3]
    assert result["skipped"].tolist() == [2, 2]
    assert preprocess({**batch, "image": [png(image) for image in images] * 2})["skipped"].tolist() == [2] * 4
    assert preprocess.skipped == 2


def test_skipping_moves_neither_positions_nor_random_numbers():
    images = [random_image(index) for index in range(3)]
    random = Target(fastnorm.VAE, size=24, crop=Crop(16, "random"))
    preprocess = Preprocess("image", on_error="skip", flip="random", images=random, clip_images=random)
    positions = {"clip_images": [(index, 1) for index in range(4)]}

    result = preprocess(
        {"image": [images[0], b"", images[1], images[2]]},
        positions=positions,
        generator=torch.Generator().manual_seed(5),
    )

    wanted = fastnorm.fused_preprocess(
        images,
        [random, random],
        positions=[None, [(0, 1), (2, 1), (3, 1)]],
        flip="random",
        generator=torch.Generator().manual_seed(5),
    )
    assert_equal(result, dict(zip(("images", "clip_images"), wanted, strict=True)))


def test_a_generator_is_all_that_a_call_draws_from():
    target = Target(fastnorm.VAE, size=64, crop=Crop(16, "random"))
    torch.manual_seed(0)
    before = torch.random.get_rng_state()

    calls = [
        fastnorm.fused_preprocess(
            [random_image(0), random_image(1)],
            [target],
            flip="random",
            flip_before_crop=flip_before_crop,
            generator=torch.Generator().manual_seed(11),
            return_offsets=True,
        )
        for flip_before_crop in (False, True, False, True)
    ]

    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(calls[0][0][0], calls[2][0][0])
    assert torch.equal(calls[1][0][0], calls[3][0][0])
    others = fastnorm.fused_preprocess(
        [random_image(0), random_image(1)], [target], generator=torch.Generator().manual_seed(12), return_offsets=True
    )
    assert not torch.equal(others[1][0], calls[0][1][0])


def test_positions_count_in_the_resized_image():
    image = random_image(0, height=90, width=60)
    height, width = SMALL.resized_size((90, 60))
    assert (height, width) == (36, 24)
    corner = Target(fastnorm.VAE, size=24, crop=Crop(position=(height - 24, width - 24)))

    (ours,) = fastnorm.fused_preprocess([image], [SMALL], positions=[[(height - 24, width - 24)]])

    assert torch.equal(ours, fastnorm.fused_preprocess([image], [corner])[0])
    with pytest.raises(ValueError, match="size: an image of 1 x 300000 pixels would become 1024 x"):
        Target(fastnorm.VAE, size=1024).resized_size((1, 300_000))


def test_a_copy_in_a_worker_counts_for_itself():
    preprocess = Preprocess("image", on_error="skip", **PAIR)
    fresh = pickle.dumps(preprocess)
    preprocess({"image": [b""]})
    assert preprocess.skipped == 1

    assert pickle.dumps(preprocess) == fresh  # what datasets makes a fingerprint of
    assert pickle.loads(fresh).skipped == 0
    assert_equal(pickle.loads(fresh)({"image": [random_image(0)]}), expected([random_image(0)]))


def test_an_error_survives_a_process():
    error = pickle.loads(pickle.dumps(PictureError("images[3]: got nothing", 3, "image")))
    assert (str(error), error.index, error.key) == ("images[3]: got nothing", 3, "image")


@pytest.mark.parametrize(
    ("build", "kind", "text"),
    [
        (lambda: Preprocess("image"), ValueError, "expected at least one by name"),
        (lambda: Preprocess("image", x=fastnorm.CLIP), TypeError, "x: got a Normalization"),
        (lambda: Preprocess(3, x=SMALL), TypeError, "expected the key"),
        (lambda: Preprocess("image", on_error="ignore", x=SMALL), ValueError, "'raise' or 'skip'"),
        (lambda: Preprocess("image", on_error="skip", kept=SMALL), ValueError, "expected another name"),
        (lambda: Preprocess("image", flip=0.5, x=SMALL), TypeError, "flip: got 0.5"),
        (lambda: Preprocess("image", alpha="black", x=SMALL), ValueError, "alpha: got 'black'"),
        (lambda: Preprocess("image", dtype=torch.float64, x=SMALL), ValueError, "float64"),
        (lambda: Preprocess("image", x=SMALL)([random_image(0)]), TypeError, "got list, expected a dictionary"),
        (lambda: Preprocess("image", x=SMALL)({"image": random_image(0)}, positions={"y": (0, 0)}), ValueError, "'y'"),
        (lambda: Preprocess("image", x=SMALL)({"image": random_image(0)}, generator=3), TypeError, "torch.Generator"),
        (lambda: fastnorm.collate_images(3), TypeError, "key: got int"),
        (lambda: fastnorm.collate_images("image", rest=3), TypeError, "rest: got int"),
        (lambda: fastnorm.collate_images("image", preprocess=3), TypeError, "preprocess: got int"),
        (lambda: fastnorm.collate_images("image")([{"x": 1}]), TypeError, r"samples\[0\]: got \['x'\]"),
        (lambda: Prefetcher(3, print, "cpu"), TypeError, "loader: got int"),
        (lambda: Prefetcher([], 3, "cpu"), TypeError, "preprocess: got int"),
        (lambda: Prefetcher([], print, "cpu", depth=0), ValueError, "depth: got 0"),
        (lambda: Prefetcher(Prefetcher([], print, "cpu"), print, "cpu"), TypeError, "got a Prefetcher"),
    ],
)
def test_wrong_arguments(build, kind, text):
    with pytest.raises(kind, match=text):
        build()


SAMPLES = [{"image": random_image(index), "id": index, "tokens": torch.full((1, 7), index)} for index in range(10)]


def concatenated(samples):
    """What IP-Adapter's own collate_fn does with its (1, 77) token ids."""
    return {"tokens": torch.cat([sample["tokens"] for sample in samples]), "id": [sample["id"] for sample in samples]}


def test_the_rest_goes_to_the_callers_own_collate():
    batch = fastnorm.collate_images("image", rest=concatenated)(SAMPLES[:3])

    assert batch["tokens"].shape == (3, 7)
    assert batch["id"] == [0, 1, 2]
    assert_equal(Preprocess("image", **PAIR)(batch), expected([sample["image"] for sample in SAMPLES[:3]]))
    assert list(fastnorm.collate_images("image")([{"image": random_image(0)}])) == ["image"]


def test_a_bad_image_in_collate_is_named():
    samples = [SAMPLES[0], {**SAMPLES[1], "image": b"no image"}]
    with pytest.raises(PictureError, match=r"image: images\[1\]: got a file that cannot be opened") as caught:
        fastnorm.collate_images("image")(samples)
    assert (caught.value.index, caught.value.key) == (1, "image")
    assert "(Pillow does not recognise it), expected" in str(caught.value)  # and no memory address, new in each run


# One transparent image, and one that its EXIF orientation turns.
UNUSUAL = [Image.new("RGBA", (40, 30), (200, 10, 10, 0)), random_image(0)]
UNUSUAL[1].getexif()[0x0112] = 6


@pytest.mark.parametrize("how", ["of collate_images", "of a Prefetcher"])
@pytest.mark.parametrize("options", [{}, {"alpha": "white", "exif": "apply"}], ids=["unlike", "alike"])
def test_images_that_the_worker_preprocesses_are_those_that_it_would_pack(how, options):
    preprocess = Preprocess("image", **options, **PAIR)
    samples = [{"image": image, "id": index} for index, image in enumerate(UNUSUAL)]
    collate = functools.partial(fastnorm.collate_images, "image", alpha="white", exif="apply")
    if how == "of collate_images":
        batch = collate(preprocess=preprocess)(samples)
    else:
        (batch,) = Prefetcher(DataLoader(samples, 2, collate_fn=collate()), preprocess, "cpu")

    assert list(batch) == ["id", *PAIR]
    assert_equal(batch, expected(UNUSUAL, alpha="white", exif="apply"))
    assert not torch.equal(batch["images"], expected(UNUSUAL, alpha="white")["images"])


def test_a_worker_that_preprocesses_copies_no_image(monkeypatch):
    preprocess = Preprocess("image", **PAIR)
    wanted = expected([sample["image"] for sample in SAMPLES[:4]])
    monkeypatch.setattr(PackedImages, "pack", None)

    assert_equal(fastnorm.collate_images("image", concatenated, preprocess=preprocess)(SAMPLES[:4]), wanted)
    assert_equal(next(iter(Prefetcher(loader(), preprocess, "cpu"))), wanted)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_bad_image_is_named_wherever_it_is_preprocessed(on_error):
    preprocess = Preprocess("image", on_error=on_error, **PAIR)
    samples = [SAMPLES[0], {**SAMPLES[1], "image": b"no image"}]
    errors = []
    for collate in (fastnorm.collate_images("image"), fastnorm.collate_images("image", preprocess=preprocess)):
        with pytest.raises(PictureError, match=r"^image: images\[1\]: got a file that cannot be opened") as caught:
            collate(samples)
        errors.append((caught.value.index, caught.value.key))
    assert errors == [(1, "image")] * 2


def loader(dataset=SAMPLES, **options):
    options = {"batch_size": 4, "collate_fn": fastnorm.collate_images("image", rest=concatenated), **options}
    return DataLoader(dataset, **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_prefetcher_yields_every_batch(workers):
    preprocess = Preprocess("image", **PAIR)
    batches = Prefetcher(loader(num_workers=workers), preprocess, "cpu")

    assert len(batches) == 3
    for _ in range(2):  # every epoch
        found = list(batches)
        assert [batch["id"] for batch in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        for batch in found:
            assert_equal(batch, expected([SAMPLES[index]["image"] for index in batch["id"]]))


def test_a_prefetcher_of_any_iterable():
    found = list(
        Prefetcher([{"image": [random_image(0)]}, {"image": [random_image(1)]}], Preprocess("image", **PAIR), "cpu")
    )
    assert_equal(found[1], expected([random_image(1)]))
    with pytest.raises(AttributeError, match="cannot be resumed"):
        Prefetcher([], print, "cpu").state_dict()


def test_workers_preprocess_on_the_cpu():
    def where(batch):
        return {"worker": torch.utils.data.get_worker_info().id, **batch}

    found = list(Prefetcher(loader(num_workers=2), where, "cpu"))
    assert [batch["worker"] for batch in found] == [0, 1, 0]


def test_what_would_drop_the_prefetcher_is_refused():
    with pytest.raises(AttributeError, match=r"Prefetcher\(prepare\(loader\), ...\)"):
        Prefetcher(loader(), print, "cpu").dataset  # noqa: B018  # what accelerate's skip_first_batches asks for


def test_set_epoch_reaches_whoever_has_it():
    class Sampler:
        epoch = None

        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            return iter(range(4))

        def __len__(self):
            return 4

    sampler = Sampler()
    Prefetcher(loader(sampler=sampler), print, "cpu").set_epoch(3)
    assert sampler.epoch == 3
    with pytest.raises(AttributeError, match="set_epoch: got a list"):
        Prefetcher([], print, "cpu").set_epoch(3)


def test_collate_by_type():
    from torch.utils.data._utils.collate import collate, default_collate_fn_map

    by_type = {Image.Image: fastnorm.collate_image_fn, **default_collate_fn_map}
    packed, labels = collate([(random_image(0), 3), (random_image(1), 4)], collate_fn_map=by_type)
    assert labels.tolist() == default_collate([3, 4]).tolist()
    assert_equal(Preprocess("image", **PAIR)({"image": packed}), expected([random_image(0), random_image(1)]))


def test_presets_in_a_sample():
    result = Preprocess("image", pixel_values=CLIP_224)({"image": random_image(0)})
    assert torch.equal(result["pixel_values"], fastnorm.fused_preprocess([random_image(0)], [CLIP_224])[0][0])


class Resumable:
    """A loader with a state, which is how many batches it has given."""

    def __init__(self, batches):
        self.batches, self.given = batches, 0

    def __iter__(self):
        for batch in self.batches:
            self.given += 1
            yield batch

    def state_dict(self):
        return {"given": self.given}


@pytest.mark.parametrize("depth", [1, 2])
def test_what_is_prepared_ahead(depth):
    """The part of CUDA's way that needs no stream: how far ahead, in which order, and whose state."""
    launched = []
    loader = Resumable(list("abcdef"))
    ahead = prefetch._Ahead(loader, lambda batch: launched.append(batch) or batch.upper(), depth)

    for number, result in enumerate(ahead, start=1):
        assert result == "ABCDEF"[number - 1]
        assert len(launched) == min(number + depth, 6)
        assert ahead.state == {"given": number}  # not what the loader has given meanwhile
    assert number == 6


def test_an_error_ahead_waits_for_its_turn():
    def launch(batch):
        if batch == "c":
            raise PictureError("c is no image", 2)
        return batch

    results = iter(prefetch._Ahead(Resumable(list("abcdef")), launch, 3))
    assert [next(results), next(results)] == ["a", "b"]
    with pytest.raises(PictureError, match="c is no image"):
        next(results)
    assert list(results) == []


def test_stopping_early_takes_no_more_batches_and_ends_the_workers():
    batches = Prefetcher(loader(num_workers=2, persistent_workers=False), Preprocess("image", **PAIR), "cpu")
    iterator = iter(batches)
    next(iterator)
    assert len(multiprocessing.active_children()) == 2
    iterator.close()
    del iterator
    gc.collect()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("context", "strategy", "number"), [("fork", "file_system", 2), ("spawn", "file_descriptor", 1)]
)
def test_packed_images_out_of_workers(context, strategy, number):
    before = torch.multiprocessing.get_sharing_strategy()
    torch.multiprocessing.set_sharing_strategy(strategy)
    try:
        workers = loader(num_workers=number, multiprocessing_context=context, persistent_workers=True)
        for _ in range(2):
            for batch in workers:
                assert_equal(
                    Preprocess("image", **PAIR)(batch), expected([SAMPLES[index]["image"] for index in batch["id"]])
                )
        del workers
    finally:
        torch.multiprocessing.set_sharing_strategy(before)


def pixels_are_shared(samples):
    return PackedImages.pack([sample["image"] for sample in samples]).buffer.is_shared()


def test_a_worker_packs_into_the_memory_that_it_sends():
    """Else the loader copies all pixels once more."""
    assert list(DataLoader(SAMPLES, 4, collate_fn=pixels_are_shared, num_workers=1)) == [True] * 3
    assert list(DataLoader(SAMPLES, 4, collate_fn=pixels_are_shared)) == [False] * 3


def test_packed_images_are_cut_and_joined():
    images = [random_image(index) for index in range(4)]
    packed = PackedImages.pack(images)

    joined = PackedImages.cat([packed[2:], packed[[1]]])

    assert joined.batch_size == len(joined) == 3
    assert_equal(Preprocess("image", **PAIR)({"image": joined}), expected([images[2], images[3], images[1]]))
    assert PackedImages.cat([]).batch_size == 0
    with pytest.raises(TypeError, match="expected a list of PackedImages"):
        PackedImages.cat(packed)
