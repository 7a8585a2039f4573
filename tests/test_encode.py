"""`fastnorm.integrations.ray.encode`: what is known of an image, what is refused, the same rows whatever happens."""

import base64
import dataclasses
import inspect
import io
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import encoders_for_tests
import fastnorm
import kill_encode
from fastnorm.cli import _parser, main
from fastnorm.integrations.ray import EncodeError, Summary, encode, items, status, verify
from fastnorm.integrations.ray import job as encode_job
from fastnorm.integrations.ray.batches import EncodeBatch, Recipe
from fastnorm.integrations.ray.encoders import Encoder
from fastnorm.integrations.ray.engine import Engine, StartError
from fastnorm.integrations.ray.identity import described, fingerprint
from fastnorm.integrations.ray.output import Output
from fastnorm.integrations.ray.reading import Reading, unpack
from fastnorm.integrations.ray.sources import open_source, read, scan

TARGET = fastnorm.Target(fastnorm.CLIP, size=24, resample="bicubic", crop=fastnorm.Crop())
VAE = fastnorm.Target(fastnorm.VAE, size=32, resample="bilinear", crop=fastnorm.Crop())
TARGETS = {"means": (TARGET, "encoders_for_tests:means"), "two": (VAE, "encoders_for_tests:two")}
COUNT = 11


def jpeg(index):
    file = io.BytesIO()
    pixels = np.random.default_rng(index).integers(0, 256, (30 + index, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def opened(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


def make_folder(path):
    """Eleven images, one of which is there twice, and one that is cut off."""
    (path / "below").mkdir(parents=True)
    for index in range(COUNT):
        (path / "below" / f"{index}.jpg").write_bytes(jpeg(index))
    (path / "again.jpg").write_bytes(jpeg(3))
    (path / "cut.jpg").write_bytes(jpeg(99)[:400])
    return path


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "images")


@pytest.fixture(scope="module")
def engine():
    """One Ray for the tests of this module: each start takes seconds."""
    import processes_for_tests

    processes_for_tests.start_ray()


class Run(NamedTuple):
    folder: Path
    output: Path
    summary: Summary


@pytest.fixture(scope="module")
def whole(engine, tmp_path_factory):  # noqa: ARG001
    """A run over such a folder. Every run starts a process that imports torch: what several tests need is made once."""
    path = tmp_path_factory.mktemp("whole")
    folder = make_folder(path / "images")
    return Run(folder, path / "output", encoded(folder, path / "output"))


@pytest.fixture
def done(whole, tmp_path):
    """A copy of that run's output, to go on from."""
    return shutil.copytree(whole.output, tmp_path / "output")


def encoded(source, output, targets=TARGETS, **options):
    return encode(source, output, targets, device="cpu", **{"batch_size": 4, "shard_rows": 4, **options})


def rows_of(output):
    return kill_encode.rows_of(Path(output))[0]


def by_hash(output):
    """The rows without their key, which says where an image was found."""
    return {
        row["sha256"]: {name: value for name, value in row.items() if name != "key"} for row in rows_of(output).values()
    }


# ---- identity


def test_every_field_of_a_target_is_part_of_its_description():
    changes = {
        "size": 25, "resample": "bilinear", "crop": fastnorm.Crop(20), "pad": False, "dtype": torch.float16,
        "alpha": "white", "arithmetic": "torch", "exif": "apply", "reducing_gap": 2.0, "batch": False,
        "memory_format": torch.channels_last, "normalization": fastnorm.IMAGENET, "before": (fastnorm.Halve(8),),
        "channel_order": "BGR",
    }  # fmt: skip
    assert changes.keys() == {field.name for field in dataclasses.fields(TARGET)}
    found = [described(dataclasses.replace(TARGET, **{name: value})) for name, value in changes.items()]
    assert len({fingerprint({"target": one}) for one in [*found, described(TARGET)]}) == len(changes) + 1


def test_a_description_tells_rules_and_functions_apart():
    rules = [
        fastnorm.Sides(shortest=8), fastnorm.Sides(shortest=8, rule="timm"), fastnorm.Sides(longest=8),
        encoders_for_tests.means, encoders_for_tests.two,
    ]  # fmt: skip
    found = [json.dumps(described(fastnorm.Target(fastnorm.CLIP, size=rule))) for rule in rules]
    assert len(set(found)) == len(rules)
    with pytest.raises(TypeError, match="no fingerprint"):
        described(fastnorm.Target(fastnorm.CLIP, size=lambda height, width: (height, width)))


def test_weights_and_settings_of_a_model_are_part_of_it(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = Encoder.of(tmp_path, "clip").described()
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    after = Encoder.of(tmp_path, "clip").described()
    (tmp_path / "config.json").write_text('{"model_type": "clip", "eps": 1}')
    assert len({fingerprint(one) for one in (before, after, Encoder.of(tmp_path, "clip").described())}) == 3


# ---- what is refused, before any work


def empty(path):
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda path: path, FileNotFoundError, "no such file or folder"),
        (empty, ValueError, "got no images"),
        (lambda path: (empty(path) / "a.txt").write_text("text") and path, ValueError, "got no images"),
        (
            lambda path: (empty(path) / "a.jpg").write_bytes(b"1") and (path / "b.tar").write_bytes(b"1") and path,
            ValueError,
            r"mixed sources \(1 of kind 'folder', 1 of kind 'tar'\)",
        ),
    ],
)
def test_a_source_without_images_of_one_kind_is_refused(tmp_path, make, error, text):
    with pytest.raises(error, match=text):
        encoded(make(tmp_path / "source"), tmp_path / "output")
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("target", "encoder", "text"),
    [
        (TARGET, "no/folder", "expected the folder of a transformers vision model"),
        (TARGET, "encoders_for_tests:none", "cannot be imported"),
        (TARGET, "no_such_module:none", "cannot be imported"),
        (fastnorm.VAE_IMAGE_PROCESSOR, "encoders_for_tests:means", "depends on the image"),
        (dataclasses.replace(TARGET, crop=fastnorm.Crop(24, "random")), "encoders_for_tests:means", "random crop"),
        (dataclasses.replace(TARGET, dtype=torch.float16), "encoders_for_tests:means", "dtype"),
        (dataclasses.replace(TARGET, alpha="white"), "encoders_for_tests:means", "alpha"),
    ],
)
def test_a_target_or_encoder_that_cannot_work_is_refused(folder, tmp_path, target, encoder, text):
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        encoded(folder, tmp_path / "output", {"one": (target, encoder)})
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, "no config.json"),
        ({"config.json": "{}"}, "no weights"),
        ({"config.json": "{}", "model.bin": ""}, "of no known kind"),
        ({"config.json": "{", "model.bin": ""}, "no config.json that can be read"),
        ({"model_index.json": "{}"}, "a diffusers pipeline"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(tmp_path, files, text):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=text):
        Encoder.of(tmp_path, "one")


def test_an_output_that_cannot_be_used_is_refused(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="got a file"):
        encoded(folder, tmp_path / "file")
    with pytest.raises(PermissionError, match="expected a folder that can be written"):
        encoded(folder, tmp_path / "file" / "below")
    with pytest.raises(ValueError, match="a folder with other files in it"):
        encoded(folder, folder)
    assert not (folder / "shards").exists()


def test_one_run_at_a_time_writes(tmp_path):
    output = Output(tmp_path / "output", "a" * 64, {}, add=False)
    with pytest.raises(ValueError, match="another run is writing"):
        Output(tmp_path / "output", "a" * 64, {}, add=False)
    output.close()
    Output(tmp_path / "output", "a" * 64, {}, add=False).close()


def test_without_the_extra_the_command_names_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["encode", str(tmp_path), "out", "--target", "clip=clip-224:x"]) == 2
    assert 'pip install "fastnorm-triton[ray]"' in capsys.readouterr().err


@pytest.mark.loops
def test_the_command_says_what_is_wrong_in_one_line(folder, capsys):
    for arguments, text in [
        ([str(folder), "out"], "got no --target"),
        ([str(folder), "out", "--target", "clip"], "expected NAME=PRESET:MODEL"),
        ([str(folder), "out", "--target", "clip=clip-225:x"], "got the preset 'clip-225'"),
        ([str(folder), "out", "--target", "a=clip-224:x", "--target", "a=clip-224:x"], "twice"),
        ([str(folder), "out", "--target", "a=clip-224:no/folder"], "expected the folder of a transformers"),
        (["out", "--status"], "expected one that encode has made"),
        ([str(folder), "out", "--verify"], "expected OUTPUT alone"),
    ]:
        assert main(["encode", *arguments]) == 2
        said = capsys.readouterr().err
        assert text in said
        assert said.count("\n") == 1


# ---- sources


def make_tar(folder, path):
    with tarfile.open(path / "a.tar", "w") as tar:
        for file in sorted(folder.rglob("*.jpg")):
            tar.add(file, f"{file.stem}.jpg")
            (path / "note.txt").write_text("text")
            tar.add(path / "note.txt", f"{file.stem}.txt")
    (path / "note.txt").unlink()


def make_parquet(folder, path, wrap=lambda data: data):
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [wrap(file.read_bytes()) for file in sorted(folder.rglob("*.jpg"))]
    pq.write_table(pa.table({"n": range(len(images)), "image": images}), path / "a.parquet", row_group_size=4)


def make_datasets(folder, path):
    import datasets

    images = [{"bytes": file.read_bytes(), "path": None} for file in sorted(folder.rglob("*.jpg"))]
    table = datasets.Dataset.from_dict({"image": images}).cast_column("image", datasets.Image())
    table.save_to_disk(path, num_shards=2)


SOURCES = {
    "tar": make_tar,
    "parquet": make_parquet,
    "parquet of datasets": lambda folder, path: make_parquet(folder, path, lambda data: {"bytes": data, "path": None}),
    "datasets": make_datasets,
}


@pytest.mark.loops
@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_gives_the_bytes_that_its_scan_has_hashed(folder, tmp_path, kind):
    (tmp_path / "source").mkdir()
    SOURCES[kind](folder, tmp_path / "source")
    source = open_source(tmp_path / "source")
    items = [item for file in source.files for item in scan(source, file)]
    expected = [file.read_bytes() for file in sorted(folder.rglob("*.jpg"))]
    if kind == "tar":  # whose members keep the order in which they were added
        assert [item.key for item in items] == [f"a.tar/{file.stem}.jpg" for file in sorted(folder.rglob("*.jpg"))]
    assert len({item.key for item in items}) == len(items) == COUNT + 2
    backwards = [(item.file, item.place, item.row) for item in reversed(items)]
    assert list(read(source.kind, source.column, backwards)) == expected[::-1]


@pytest.mark.loops
def test_a_table_says_which_columns_it_has(folder, tmp_path):
    make_parquet(folder, tmp_path)
    with pytest.raises(ValueError, match=r"got 'n' for .*its columns: n \(int64\), image \(binary\)"):
        open_source(tmp_path / "a.parquet", "n")


def test_a_cut_off_tar_loses_what_is_behind_the_cut(folder, tmp_path):
    make_tar(folder, tmp_path)
    whole = (tmp_path / "a.tar").read_bytes()
    source = open_source(tmp_path / "a.tar")
    every = list(scan(source, source.files[0]))
    (tmp_path / "a.tar").write_bytes(whole[: every[5].place + 10])
    found = list(scan(source, source.files[0]))
    assert found[:5] == every[:5]
    assert [(one.key, one.sha256) for one in found[5:]] == [("a.tar", None)]
    assert "cannot be read" in found[5].error


def test_a_file_that_cannot_be_read_is_an_item_with_the_reason(folder):
    source = open_source(folder)
    (folder / "cut.jpg").unlink()
    (item,) = scan(source, str(folder / "cut.jpg"))
    assert (item.key, item.sha256, item.error) == ("cut.jpg", None, "cannot be read (No such file or directory)")


@pytest.mark.loops
def test_files_that_a_killed_run_has_hashed_are_not_read_again(folder, tmp_path, monkeypatch):
    source = open_source(folder)
    asked = []

    def scanned(files, stop):
        asked.append(len(files))
        for count, file in enumerate(files):
            if count == stop:
                raise KeyboardInterrupt
            yield {file: list(scan(source, file))}

    monkeypatch.setattr(items, "_SAVE_EVERY", 0)
    for stop in (4, 5, None):
        monkeypatch.setattr(items, "_scan_with_ray", lambda *given, stop=stop: scanned(given[1], stop))
        try:
            found = items.gather(source, tmp_path / "items.parquet", print, False, print)
        except KeyboardInterrupt:
            found = []
    assert asked == [COUNT + 2, COUNT + 2 - 4, COUNT + 2 - 9]
    assert found == [item for file in source.files for item in scan(source, file)]


@pytest.mark.loops
def test_an_archive_counts_as_hashed_when_all_of_it_is(folder, tmp_path, monkeypatch):
    """Ray may hand over a large one in pieces."""
    import pyarrow as pa

    make_tar(folder, tmp_path)
    source = open_source(tmp_path / "a.tar")
    whole = items._scan_batch(source, {"file": pa.array([os.fsencode(source.files[0])])})

    class Pieces:
        def __init__(self, *_, **__):
            self.map_batches = Pieces

        def iter_batches(self, **_):
            return iter([whole.slice(0, 5), whole.slice(5)])

    monkeypatch.setattr("ray.data.from_items", Pieces)
    found = list(items._scan_with_ray(source, source.files, print))
    assert found == [{}, {source.files[0]: list(scan(source, source.files[0]))}]


# ---- what travels from the tasks that read to the workers that encode


def places(folder):
    import pyarrow as pa

    source = open_source(folder)
    items = [item._asdict() for file in source.files for item in scan(source, file)]
    return pa.Table.from_pylist([one | {"file": os.fsencode(one["file"])} for one in items])


def test_the_command_s_defaults_are_the_function_s():
    """The parser repeats them, because it imports neither Ray nor torch."""
    args = vars(_parser.build_parser().parse_args(["encode", "source", "output"]))
    known = {name: parameter.default for name, parameter in inspect.signature(encode).parameters.items()}
    same = ("batch_size", "batch_pixels", "shard_rows", "alpha", "exif", "workers", "cpus", "address", "column")
    assert {name: args[name] for name in same} == {name: known[name] for name in same}


def recipe(target=TARGET, batch_size=5, batch_pixels=1 << 28, alpha="error", exif="ignore"):
    encoders = {"means": Encoder.of("encoders_for_tests:means", "means")}
    return Recipe({"means": target}, encoders, torch.float32, batch_size, alpha, exif, "f" * 64, "cpu", batch_pixels)


def table_of(folder, recipe, decoded_pixels=0):
    import pyarrow as pa

    reading = Reading("folder", None, recipe.batch_size, recipe.alpha, recipe.exif, decoded_pixels)
    encoder = EncodeBatch(recipe)
    found = [encoder(batch) for batch in reading(places(folder))]
    return pa.concat_tables(found, promote_options="default").to_pylist()


@pytest.fixture
def odd_ones(folder):
    """Besides: gray ones, one of 3 rows, one that EXIF turns, one with transparent pixels, an empty file, a text."""
    gray = Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30))
    gray.save(folder / "gray.png")
    gray.resize((40, 3)).save(folder / "low.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    gray.save(folder / "turned.jpg", exif=exif)
    Image.new("RGBA", (20, 20), (9, 200, 30, 128)).save(folder / "clear.png")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"text")
    return folder


@pytest.mark.loops
@pytest.mark.parametrize(("alpha", "exif"), [("error", "ignore"), ("white", "apply")])
def test_pixels_that_travel_become_the_rows_of_files_that_do(odd_ones, alpha, exif):
    chosen = recipe(alpha=alpha, exif=exif)
    expected = table_of(odd_ones, chosen)
    assert sum(bool(row["error"]) for row in expected) == (4 if alpha == "error" else 3)
    assert table_of(odd_ones, chosen, decoded_pixels=1 << 20) == expected
    # Between them: images of more than 1,400 pixels travel as files.
    reading = Reading("folder", None, 100, alpha, exif, 1400)
    (batch,) = reading(places(odd_ones))
    assert {bool(one.height) for one in unpack(batch) if not one.error} == {True, False}
    assert all(one.height * one.width <= 1400 for one in unpack(batch))
    assert table_of(odd_ones, chosen, decoded_pixels=1400) == expected


@pytest.mark.loops
def test_a_worker_holds_no_more_pixels_than_allowed_and_one_image(folder, monkeypatch):
    from fastnorm.integrations.ray import batches

    expected = table_of(folder, recipe())
    held = []
    preprocess = batches.fused_preprocess

    def counted(images, *given, **options):
        held.append([image.height * image.width for image in images])
        return preprocess(images, *given, **options)

    monkeypatch.setattr(batches, "fused_preprocess", counted)
    assert table_of(folder, recipe(batch_pixels=3000)) == expected
    assert all(sum(pixels[:-1]) < 3000 for pixels in held)
    assert max(map(len, held)) == 3  # of up to 1,600 pixels each


@pytest.mark.loops
def test_a_reading_task_holds_one_batch(folder):
    reading = Reading("folder", None, 5, "error", "ignore", 0)
    batches = reading(places(folder))
    assert not any(one.error for one in unpack(next(batches)))
    shutil.rmtree(folder)
    assert all("cannot be read" in one.error for batch in batches for one in unpack(batch))


@pytest.mark.loops
def test_the_reason_for_a_bad_image_does_not_name_its_place_in_a_batch(folder):
    strict = dataclasses.replace(TARGET, size=None, crop=fastnorm.Crop(33), pad=False)
    alone = {row["key"]: row["error"] for row in table_of(folder, recipe(strict, batch_size=1))}
    assert sum("33" in error for error in alone.values()) == 3
    assert {row["key"]: row["error"] for row in table_of(folder, recipe(strict))} == alone


# ---- rows

pytestmark_ray = [pytest.mark.loops, pytest.mark.usefixtures("engine"), pytest.mark.filterwarnings("default")]


def with_ray(test):
    """A test of the engine's, whose own deprecations are not ours to fix."""
    for mark in pytestmark_ray:
        test = mark(test)
    return test


@with_ray
def test_rows_hold_what_the_encoder_makes_of_the_published_pixels(whole):
    folder, output, summary = whole
    assert (summary.items, summary.unique, summary.encoded, summary.bad) == (COUNT + 2, COUNT + 1, COUNT, 1)
    assert summary.dependent == ()
    rows = {row["key"]: row for row in rows_of(output).values()}
    assert rows.keys() == {"again.jpg", *(f"below/{index}.jpg" for index in range(COUNT) if index != 3)}
    for row in rows.values():
        image = opened((folder / row["key"]).read_bytes())
        small, large = fastnorm.fused_preprocess([image], [TARGET, VAE])
        assert row["means"] == encoders_for_tests.means(small)[0].tolist()
        assert row["two_low"] == encoders_for_tests.two(large)["low"][0].tolist()
        assert row["two_high"] == encoders_for_tests.two(large)["high"][0].tolist()
        assert (row["height"], row["width"]) == (image.height, image.width)
        offsets = fastnorm.fused_preprocess([image], [TARGET], return_offsets=True)[1]
        assert [row["means_top"], row["means_left"]] == offsets[0][0].tolist()
    (bad,) = (json.loads(line) for line in (output / "quarantine.jsonl").read_text().splitlines())
    assert bad["key"] == "cut.jpg"
    assert "expected a complete image" in bad["error"]
    assert "cut.jpg" in (output / "report.md").read_text()
    page = (output / "report.html").read_text()
    assert "cut.jpg" in page
    assert "Samples" not in page  # of VAEs alone


@with_ray
@pytest.mark.parametrize("kind", ["tar", "datasets"])  # one whose files have no column, and one of tables
def test_rows_do_not_depend_on_the_source_the_order_or_the_neighbours(folder, tmp_path, whole, kind):
    for name in ("shuffled", "source"):
        (tmp_path / name).mkdir()
    for index, file in enumerate(np.random.default_rng(1).permutation(sorted(folder.rglob("*.jpg")))):
        shutil.copy(file, tmp_path / "shuffled" / f"{index:02}.jpg")
    SOURCES[kind](tmp_path / "shuffled", tmp_path / "source")
    encoded(tmp_path / "source", tmp_path / "output", shard_rows=3, workers=1)
    assert by_hash(tmp_path / "output") == by_hash(whole.output)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny models of random weights: a CLIP vision tower with a projection, one without, and a VAE under two names."""
    from diffusers import AutoencoderKL
    from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

    path = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=24, patch_size=8,
        projection_dim=16,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(path / "clip")
    CLIPVisionModel(config).save_pretrained(path / "vision")
    AutoencoderKL(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=4,
    ).save_pretrained(path / "vae")  # fmt: skip
    (path / "broken").symlink_to(path / "vae")
    return path


def of_models(models):
    return {
        "clip": (TARGET, models / "clip"),
        "pooled": (TARGET, models / "vision"),
        "tokens": (TARGET, f"{models / 'vision'}#last_hidden_state"),
        "vae": (VAE, models / "vae"),
        "broken": (VAE, models / "broken"),
    }


@pytest.fixture(scope="module")
def by_models(engine, models, tmp_path_factory):  # noqa: ARG001
    """A run with them; under its second name the VAE's decoder fails."""
    decoder = Encoder.decoder

    def fail(self, *given):
        if self.source.endswith("broken"):
            raise RuntimeError("not enough memory")
        return decoder(self, *given)

    path = tmp_path_factory.mktemp("by_models")
    folder = make_folder(path / "images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "decoder", fail)
        return Run(folder, path / "output", encoded(folder, path / "output", of_models(models), shard_rows=16))


@with_ray
def test_models_rows_are_those_of_the_models_themselves(by_models, models):
    from diffusers import AutoencoderKL
    from transformers import CLIPVisionModel, CLIPVisionModelWithProjection

    folder, output, _ = by_models
    clip = CLIPVisionModelWithProjection.from_pretrained(models / "clip").eval()
    vision = CLIPVisionModel.from_pretrained(models / "vision").eval()
    vae = AutoencoderKL.from_pretrained(models / "vae").eval()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for row in rows_of(output).values():
        image = opened((folder / row["key"]).read_bytes())
        small, large = fastnorm.fused_preprocess([image], [TARGET, VAE])
        small, large = (torch.cat([one, torch.zeros(3, *one.shape[1:])]) for one in (small, large))  # the batch's size
        with torch.inference_mode():
            posterior = vae.encode(large).latent_dist
            assert row["clip"] == clip(small).image_embeds[0].tolist()
            assert row["pooled"] == vision(small).pooler_output[0].tolist()
            assert row["tokens"] == vision(small).last_hidden_state[0].flatten().tolist()
            assert row["vae_mean"] == posterior.mean[0].flatten().tolist()
            assert row["vae_std"] == posterior.std[0].flatten().tolist()
    torch.set_num_threads(threads)
    import pyarrow.parquet as pq

    schema = pq.read_schema(next((output / "shards").iterdir()))
    assert json.loads(schema.field("vae_mean").metadata[b"shape"]) == [4, 16, 16]


@with_ray
def test_the_report_shows_images_beside_their_decoded_latents(by_models, models):
    from diffusers import AutoencoderKL

    folder, output, _ = by_models
    rows = {row["key"]: row for row in rows_of(output).values()}
    samples = [one for one in json.loads((output / "samples.json").read_text()) if one["target"] != "broken"]
    assert [one["target"] for one in samples] == ["vae"] * 4
    vae = AutoencoderKL.from_pretrained(models / "vae").eval()
    for one in samples:
        mean = torch.tensor(rows[one["key"]]["vae_mean"]).reshape(1, 4, 16, 16)
        with torch.inference_mode():
            decoded = vae.decode(mean).sample
        (seen,) = fastnorm.fused_preprocess([opened((folder / one["key"]).read_bytes())], [VAE])
        for url, values in ((one["image"], seen), (one["decoded"], decoded)):
            shown = np.asarray(opened(base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))))
            pixels = fastnorm.denormalize(values, fastnorm.VAE)[0].movedim(0, -1)
            file = io.BytesIO()
            Image.fromarray(pixels.numpy()).save(file, "JPEG", quality=85)
            assert np.array_equal(shown, np.asarray(opened(file.getvalue())))

    def check():
        text = (output / "report.md").read_text()
        page = (output / "report.html").read_text()
        for one in samples:
            assert f"- vae: `{one['key']}`\n" in text
            assert one["image"] in page
            assert one["decoded"] in page

    check()
    assert encoded(folder, output, of_models(models)).encoded == 0
    check()  # a run that has nothing to do does not lose them


@with_ray
def test_a_decoder_that_fails_costs_its_images_alone(by_models):
    assert by_models.summary.encoded == COUNT
    for report in ("report.md", "report.html"):
        text = (by_models.output / report).read_text()
        assert text.lower().count("not decoded: runtimeerror: not enough memory") == 4


@with_ray
def test_tasks_that_decode_give_the_same_rows(odd_ones, tmp_path, monkeypatch):
    """As for a GPU: images of more than 1,400 pixels travel as files, smaller ones as pixels."""
    same, _ = encode_job.recipe_of(TARGETS, torch.float32, "cpu", 4, "error", "ignore")
    expected = {row["id"]: row | {"fingerprint": same.fingerprint} for row in reversed(table_of(odd_ones, same))}
    bad = sorted((row["key"], row["sha256"], row["error"]) for row in expected.values() if row["error"])
    monkeypatch.setattr(Recipe, "decoded_pixels", 1400)
    encoded(odd_ones, tmp_path / "output")
    rows, found_bad = kill_encode.rows_of(tmp_path / "output")
    assert {one: row | {"error": ""} for one, row in rows.items()} == {
        one: row for one, row in expected.items() if not row["error"]
    }
    assert found_bad == bad


@with_ray
def test_the_benchmark_writes_rows(tmp_path):
    """With few images, in the Ray of these tests: that it runs, and what a row says of it."""
    from benchmarks import test_encoding
    from benchmarks.rows import load
    from benchmarks.timing import Suite

    cell = test_encoding.CELLS[0]._replace(images=40)
    test_encoding.test_encode(Suite(rows=tmp_path), cell, tmp_path)
    rows = load(tmp_path)
    assert list(rows["name"]) == ["fastnorm encode", "fastnorm encode, under way", "bare loop"]
    assert (rows["images_per_s"] > 0).all()
    assert rows["cpu_ms"][0] > 0
    assert (rows["cpu_ms"] >= 0).all()  # the system counts hundredths of a second, in which few images may be done
    assert rows["note"].str.fullmatch(r"40 images of [\d,]+ bytes; [\d,]+ bytes a row").all()


@pytest.fixture(scope="module")
def by_odd_encoders(engine, tmp_path_factory):  # noqa: ARG001
    """A run over such a folder and a white image; one encoder depends on the batch, one makes NaN of what is white."""
    path = tmp_path_factory.mktemp("by_odd_encoders")
    folder = make_folder(path / "images")
    Image.new("RGB", (30, 30), "white").save(folder / "white.png")
    targets = {name: (TARGET, f"encoders_for_tests:{name}") for name in ("of_batch", "not_finite")}
    return Run(folder, path / "output", encoded(folder, path / "output", targets))


@with_ray
def test_an_encoder_that_mixes_its_batch_is_named(by_odd_encoders):
    assert by_odd_encoders.summary.dependent == ("of_batch",)
    assert "place in its batch: of_batch." in (by_odd_encoders.output / "report.md").read_text()


@with_ray
def test_values_that_are_not_finite_are_no_rows(by_odd_encoders):
    assert (by_odd_encoders.summary.encoded, by_odd_encoders.summary.bad) == (COUNT, 2)
    assert "not_finite: got NaN or infinity" in (by_odd_encoders.output / "quarantine.jsonl").read_text()


# ---- the start of Ray


@pytest.mark.loops
@pytest.mark.filterwarnings("default")
def test_a_start_that_takes_too_long_is_tried_again(monkeypatch):
    import ray

    environment = dict(os.environ)
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    tried = []

    def init(**options):
        tried.append(options)
        if len(tried) < 3:
            raise Exception("The current node timed out during startup.")  # as Ray does

    monkeypatch.setattr(ray, "init", init)
    environment["RAY_health_check_failure_threshold"] = "7"  # a user's own
    Engine(None, 2).start()
    assert [options["num_cpus"] for options in tried] == [2, 2, 2]
    assert environment["RAY_worker_register_timeout_seconds"] == "300"
    assert environment["RAY_health_check_failure_threshold"] == "7"


@pytest.mark.loops
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("address", "times"), [(None, 3), ("somewhere:1", 1)])
def test_a_start_that_fails_each_time_is_an_error(monkeypatch, address, times):
    import ray

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    tried = []

    def init(**options):
        tried.append(options)
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(StartError, match=r"Ray has not started \(ConnectionError: nobody answers\)"):
        Engine(address, None).start()
    assert len(tried) == times


# ---- going on


@with_ray
def test_a_second_run_encodes_what_is_missing_and_nothing_else(folder, done, monkeypatch):
    before = rows_of(done)
    (folder / "new.jpg").write_bytes(jpeg(50))
    (folder / "renamed.jpg").write_bytes((folder / "below" / "0.jpg").read_bytes())
    (folder / "below" / "0.jpg").unlink()
    assert status(done)[0].missing == 0  # of the images that it knows
    summary = encoded(folder, done)
    assert (summary.encoded, summary.before, summary.bad) == (1, COUNT + 1, 1)
    after = rows_of(done)
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 1
    monkeypatch.setattr("fastnorm.integrations.ray.engine.Engine.start", None)  # cannot be called
    assert encoded(folder, done).encoded == 0


@with_ray
def test_other_settings_are_refused_or_kept_apart(whole, done):
    with pytest.raises(ValueError, match="encoded with other settings"):
        encoded(whole.folder, done, batch_size=5)
    summary = encoded(whole.folder, done, batch_size=5, add=True)
    assert (summary.encoded, summary.before) == (COUNT, 0)
    assert [one.rows for one in status(done)] == [COUNT, COUNT]
    assert verify(done) == []


@with_ray
def test_a_full_disk_ends_the_run_and_the_next_goes_on(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(encode_job, "write_shard", encoders_for_tests.full_after_two)
    with pytest.raises(EncodeError, match="no space left on the device; make room; what is done is kept") as caught:
        encoded(folder, tmp_path / "output", shard_rows=1, batch_size=1)
    kept = rows_of(tmp_path / "output")
    assert 2 <= len(kept) < COUNT
    assert verify(tmp_path / "output") == []
    monkeypatch.undo()
    # With two CPUs this would wait for ever, if the error still held the first run's worker.
    assert encoded(folder, tmp_path / "output", shard_rows=1, batch_size=1).encoded == COUNT - len(kept)
    assert caught.value.__cause__ is not None
    assert len(rows_of(tmp_path / "output")) == COUNT


@with_ray
def test_shards_are_written_while_there_is_something_to_read(folder, tmp_path, monkeypatch):
    """Else a killed run loses whatever it has encoded until it has read everything."""
    output = tmp_path / "output"
    monkeypatch.setattr(encode_job, "Reading", lambda *given: encoders_for_tests.PatientReading(*given, output))
    assert encoded(folder, output).encoded == COUNT


@with_ray
def test_verifying_finds_what_has_changed_and_a_run_fixes_it(whole, done):
    shards = sorted((done / "shards").iterdir())
    kept = shards[0].read_bytes()
    shards[0].write_bytes(kept[:100] + bytes([kept[100] ^ 1]) + kept[101:])
    shards[1].unlink()
    shutil.copy(shards[2], shards[2].with_name("copy.parquet"))
    problems = verify(done)
    assert [problem.partition(":")[0] for problem in sorted(problems)] == sorted(
        [shards[0].name, shards[1].name, "copy.parquet"]
    )
    shards[0].unlink()
    shards[2].with_name("copy.parquet").unlink()
    assert status(done)[0].missing > 0
    encoded(whole.folder, done)
    assert verify(done) == []
    assert rows_of(done) == rows_of(whole.output)


@with_ray
def test_what_a_killed_run_leaves_is_taken_up(whole, done):
    """A shard without its line in the manifest, half a line, files that are not finished."""
    manifest = (done / "manifest.jsonl").read_text().splitlines(keepends=True)
    (done / "manifest.jsonl").write_text("".join(manifest[:-1]) + manifest[-1][:30])
    (done / "unfinished" / "old").mkdir(parents=True)
    (done / "unfinished" / "old" / "a.parquet").write_bytes(b"half")
    assert len(verify(done)) == 1
    assert encoded(whole.folder, done).encoded == 0
    assert verify(done) == []
    assert sorted((done / "manifest.jsonl").read_text().splitlines()) == sorted("".join(manifest).splitlines())
    assert not (done / "unfinished").exists()


@with_ray
def test_rows_of_a_run_that_is_killed_are_those_of_one_that_is_not(tmp_path, pytestconfig):
    """The encoder's worker and then the job, in the middle; with --many-kills ten times. Each restart takes long."""
    full = pytestconfig.option.many_kills
    options = ["--device", "cpu", "--target"]
    if full:
        options += ["means=clip-224:encoders_for_tests:means", "--shard-rows", "256"]
        found = kill_encode.compare(tmp_path, full, 100, 10, 3, 7, options)
    else:
        options += ["means=clip-224:encoders_for_tests:slow_means", "--batch-size", "4", "--shard-rows", "12"]
        found = kill_encode.compare(tmp_path, 240, 40, 2, 1, 12, options, run=encoded_here, only_midway=True)
    print(found)
    assert len(found.done) == (10 if full else 2)
    assert found.rows > 200
    assert any(shards for _, shards in found.done)  # some of them hit a run that had written something


def encoded_here(source, output, options):
    """By the command in this process, with the Ray that runs already: its status, and no log."""
    return main(["encode", str(source), str(output), *options]), ""
