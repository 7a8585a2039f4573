"""The commands as a user meets them: what they print, what they write, their exit statuses."""

import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

import fastnorm
from fastnorm._normalization import PRESET_SOURCES, PRESETS
from fastnorm.cli import contact_sheet, demo, explain, main, oracle
from fastnorm.cli.files import shipped_photographs

QUICK = ["--size", "64", "--rounds", "1", "--device", "cpu"]


@pytest.fixture
def sheet(tmp_path):
    return tmp_path / "sheet.png"


@pytest.fixture
def pictures(tmp_path):
    """A user's folder: three good JPEGs of different sizes, and three files that are of no use."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, size in enumerate([(90, 60), (60, 90), (70, 70)]):
        Image.effect_noise(size, 60).convert("RGB").save(folder / f"good{index}.jpg")
    whole = (folder / "good0.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    Image.new("RGBA", (80, 80), (255, 0, 0, 100)).save(folder / "glass.png")
    return folder


def wrong_by_one_bit(function, target, channel, code):
    """`function`, but one value of one target is off by the last bit."""

    def wrapped(batch, *args, **kwargs):
        outputs = function(batch, *args, **kwargs)
        targets = args[0] if args else (fastnorm.VAE, fastnorm.CLIP)
        for output, its_target in zip(outputs, targets, strict=True):
            if its_target == target:
                plane = output[:, channel]
                words = plane.contiguous().view(torch.int32 if plane.element_size() == 4 else torch.int16)
                wanted = oracle.table(target, output.dtype)[channel, code]
                flipped = torch.where(plane == wanted, words ^ 1, words)
                plane.copy_(flipped.view(output.dtype))
        return outputs

    return wrapped


# The parser and main


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"fastnorm {fastnorm.__version__}\n"


def test_help_shows_every_command_and_examples(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert all(f"    {command} " in text for command in ("demo", "check", "explain"))
    assert "fastnorm demo photos/ cat.jpg" in text


def test_no_command_prints_the_help(capsys):
    assert main([]) == 2
    assert "usage: fastnorm" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["demo", "--size", "0"],
        ["demo", "--size", "1e3"],
        ["demo", "--workers", "-1"],
        ["demo", "--batch-size", "none"],
        ["explain", "clip", "--code", "256"],
    ],
)
def test_a_number_out_of_range_is_a_wrong_call(argv, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    assert f"got {argv[-1]!r}, wanted a whole number" in capsys.readouterr().err


def test_ctrl_c_exits_quietly(monkeypatch, capsys):
    def interrupted(_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(explain, "run", interrupted)
    assert main(["explain"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("command", ["demo", "check"])
@pytest.mark.parametrize("device", ["meta", "nonsense"])
def test_a_device_that_does_not_serve_is_a_wrong_call(command, device, capsys):
    assert main([command, "--device", device]) == 2
    assert f"--device {device}: " in capsys.readouterr().err


def run_module(*argv, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, *argv], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_a_reader_that_leaves_early_causes_no_traceback():
    process = run_module("-m", "fastnorm", "explain")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 141
    assert err == ""


# demo


def test_demo_of_the_shipped_photographs(sheet, capsys):
    assert main(["demo", *QUICK, "--output", str(sheet)]) == 0
    captured = capsys.readouterr()
    count = len(shipped_photographs())
    assert f"the {count} photographs shipped with fastnorm" in captured.out
    assert f"torch on CPU, {torch.get_num_threads()} threads" in captured.out
    assert f"0 of {2 * count * 3 * 64 * 64:,} values differ from torchvision" in captured.out
    assert f"({count}, 3, 64, 64)" in captured.out
    assert "images/s" in captured.out
    assert f"{count}/{count}" in captured.err, "a progress bar"
    assert all(len(line) <= 100 for line in captured.out.splitlines() if str(sheet) not in line)
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        height = contact_sheet.HEADER + count * contact_sheet.ROW + contact_sheet.FOOTER
        assert image.size == (contact_sheet.WIDTH, height)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_demo_in_narrower_dtypes(dtype, sheet, capsys):
    photograph = str(shipped_photographs()[0])
    assert main(["demo", photograph, *QUICK, "--dtype", dtype, "--output", str(sheet)]) == 0
    text = capsys.readouterr().out
    assert "0 of 24,576 values differ" in text
    assert f"rounded once to {dtype}" in " ".join(text.split())


def test_demo_without_torchvision_says_so(monkeypatch, sheet, capsys):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    photograph = str(shipped_photographs()[0])
    assert main(["demo", photograph, *QUICK, "--output", str(sheet)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "0 of 24,576 values differ from torchvision's formula in eager torch (torchvision is not installed)" in text
    assert "eager torch on cpu: / 255, - mean, / std per branch" in text


def test_demo_leaves_bad_files_out_and_names_them(pictures, sheet, capsys):
    assert main(["demo", str(pictures), str(pictures / "gone.jpg"), *QUICK, "--output", str(sheet)]) == 0
    captured = capsys.readouterr()
    assert "3 images (4 left out, listed above)" in captured.out
    assert "left out 4, used 3:" in captured.err
    for name in ("truncated.jpg", "empty.jpg", "glass.png", "gone.jpg"):
        assert f"  {pictures / name}: " in captured.err


def test_demo_lets_the_user_choose_about_transparency(pictures, sheet, capsys):
    arguments = [str(pictures / "glass.png"), *QUICK, "--output", str(sheet)]
    assert main(["demo", *arguments]) == 1
    assert main(["demo", *arguments, "--alpha", "drop"]) == 0
    assert " 1.0000   1.0000\n" not in capsys.readouterr().out
    assert main(["demo", *arguments, "--alpha", "white"]) == 0
    assert "1 image;" in capsys.readouterr().out


def test_demo_survives_a_batch_of_bad_files_with_workers(pictures, sheet):
    # Sorted by name: one batch per file, so that three batches hold nothing at all.
    process = run_module(
        "-m", "fastnorm", "demo", str(pictures), *QUICK, "--batch-size", "1", "--workers", "1", "--output", str(sheet)
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "3 images (3 left out, listed above)" in out
    assert "3 from a DataLoader (1 worker)" in out
    assert "left out 3, used 3:" in err
    assert "Traceback" not in err
    with Image.open(sheet) as image:
        assert image.height == contact_sheet.HEADER + 3 * contact_sheet.ROW + contact_sheet.FOOTER


def test_demo_fails_when_every_image_is_bad(pictures, sheet, capsys):
    assert main(["demo", str(pictures / "empty.jpg"), *QUICK, "--output", str(sheet)]) == 1
    assert "left out 1, used 0:" in capsys.readouterr().err
    assert not sheet.exists()


def test_demo_with_nothing_to_read_is_a_wrong_call(tmp_path, sheet, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["demo", str(empty), str(tmp_path / "gone"), "--output", str(sheet)]) == 2
    text = capsys.readouterr().err
    assert f"{empty}: a folder without image files" in text
    assert f"{tmp_path / 'gone'}: no such file or folder" in text
    assert "nothing to read" in text


@pytest.mark.parametrize("name", ["gone/sheet.png", "folder.png", "sheet.jpg"])
def test_demo_refuses_an_unwritable_output_before_the_work(name, tmp_path, capsys):
    (tmp_path / "folder.png").mkdir()
    assert main(["demo", "--output", str(tmp_path / name)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"fastnorm demo: error: --output {tmp_path / name}: ")
    assert captured.err.count("\n") == 1, "one line, no progress bar"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "folder.png"]


def test_demo_draws_the_first_rows_and_says_so(tmp_path, sheet, capsys):
    for index in range(demo.MOST_ROWS + 2):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / f"{index:02}.png")
    assert main(["demo", str(tmp_path), *QUICK, "--size", "8", "--batch-size", "3", "--output", str(sheet)]) == 0
    assert f"the first {demo.MOST_ROWS} of {demo.MOST_ROWS + 2} images" in capsys.readouterr().out
    with Image.open(sheet) as image:
        assert image.height == contact_sheet.HEADER + demo.MOST_ROWS * contact_sheet.ROW + contact_sheet.FOOTER


def test_demo_exits_1_when_a_value_differs(monkeypatch, sheet, tmp_path, capsys):
    Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / "plain.png")
    wrong = wrong_by_one_bit(fastnorm.fused_dual_normalize, fastnorm.CLIP, channel=1, code=20)
    monkeypatch.setattr(fastnorm, "fused_dual_normalize", wrong)
    arguments = [str(tmp_path / "plain.png"), *QUICK, "--size", "8", "--output", str(sheet)]
    assert main(["demo", *arguments]) == 1
    assert "64 of 384 values differ" in capsys.readouterr().out


# check


def test_check_passes_for_every_preset_and_dtype(capsys):
    assert main(["check", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert f"torch {torch.__version__}" in captured.out
    rows = [line.split() for line in captured.out.splitlines()]
    for name in PRESETS:
        for dtype in ("float32", "float16", "bfloat16"):
            (row,) = (row for row in rows if row[:2] == [name, dtype])
            assert int(row[2].replace(",", "")) >= 768
            assert row[3] == "0"
    assert "passed: 0 of" in captured.out
    assert "100%" in captured.err, "a progress bar"


def test_check_exits_1_for_one_wrong_bit_and_says_where(monkeypatch, capsys):
    target = fastnorm.Normalization((0.1, 0.2, 0.3), 0.7)
    wrong = wrong_by_one_bit(fastnorm.fused_normalize, target, channel=1, code=17)
    monkeypatch.setattr(fastnorm, "fused_normalize", wrong)
    assert main(["check", "--device", "cpu", "--mean", "0.1", "0.2", "0.3", "--std", "0.7"]) == 1
    text = capsys.readouterr().out
    assert "wrong: custom float32, channel G, code 17: got " in text
    assert "more outputs with wrong values" in text
    assert "\nFAILED: " in text
    rows = {tuple(line.split()[:2]): line.split()[3] for line in text.splitlines() if len(line.split()) == 4}
    assert rows["custom", "bfloat16"] != "0"
    assert rows["clip", "bfloat16"] == "0"


def test_check_catches_swapped_channels_even_where_constants_agree(monkeypatch, capsys):
    right = fastnorm.fused_normalize
    monkeypatch.setattr(fastnorm, "fused_normalize", lambda *a, **k: tuple(o.flip(1) for o in right(*a, **k)))
    assert main(["check", "--device", "cpu", "--mean", "0.5", "--std", "0.5"]) == 1
    assert "wrong: custom float32, channel R" in capsys.readouterr().out


def test_check_of_a_configuration(tmp_path, capsys):
    config = {"image_processor_type": "MyProcessor", "image_mean": [0.1, 0.2, 0.3], "image_std": [0.3, 0.2, 0.1]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    assert main(["check", "--device", "cpu", "--config", str(tmp_path)]) == 0
    assert "\nMyProcessor  bfloat16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--mean", "0.5"], "got --mean alone"),
        (["--std", "0.5"], "got --std alone"),
        (["--mean", "0.5", "--std", "0"], "wanted a value > 0"),
        (["--mean", "1", "2", "--std", "1"], "got 2 values"),
        (["--config", "gone.json"], "gone.json: no such file"),
        (["--config", "gone.json", "--mean", "1", "--std", "1"], "wanted one of the two"),
    ],
)
def test_check_explains_wrong_constants(arguments, wanted, capsys):
    assert main(["check", *arguments]) == 2
    assert wanted in capsys.readouterr().err


# explain


def test_explain_lists_the_presets_with_their_sources(capsys):
    assert main(["explain"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert all(len(line) <= 100 for line in lines)
    flat = " ".join(text.split())
    for name, preset in PRESETS.items():
        (row,) = (line for line in lines[1:8] if line.startswith(f"{name} "))
        assert str(preset.mean[0]) in row
        assert str(preset.std[-1]) in row
        assert PRESET_SOURCES[name] in flat


def test_every_preset_has_a_source():
    assert PRESET_SOURCES.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", [*PRESETS, "CLIP"])
def test_explain_shows_the_values_of_a_preset(name, capsys):
    assert main(["explain", name, "--code", "0", "17", "255"]) == 0
    text = capsys.readouterr().out
    assert PRESET_SOURCES[name.lower()] in " ".join(text.split())
    assert all(len(line) <= 100 for line in text.splitlines())
    rows = [line.split() for line in text.splitlines()]
    preset = PRESETS[name.lower()]
    for channel, letter in enumerate("RGB"):
        (row,) = (row for row in rows if row[:2] == ["17", letter])
        codes = torch.full((3, 1, 1), 17, dtype=torch.uint8)
        for column, dtype in ((4, torch.float32), (5, torch.float16), (6, torch.bfloat16)):
            (value,) = fastnorm.reference.normalize(codes, [preset], dtype=dtype, layout="CHW")
            assert torch.tensor(float(row[column])).to(dtype) == value[channel, 0, 0]
    assert not any(row[:1] == ["128"] for row in rows)


def test_explain_of_a_configuration(tmp_path, capsys):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({"image_mean": list(fastnorm.CLIP.mean), "image_std": list(fastnorm.CLIP.std)}))
    assert main(["explain", str(path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "the same constants as the preset clip" in text
    assert "0.48145467042922974" in text, "the constant as float32 holds it"


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("{}", "no image_mean and image_std"),
        ("[]", "wanted a JSON object"),
        ("not json", "not JSON"),
        ('{"image_mean": 0.5, "image_std": 0}', "wanted a value > 0"),
        ('{"image_mean": 0.5, "image_std": 0.5, "do_rescale": false}', "do_rescale is false"),
    ],
)
def test_explain_of_an_unusable_configuration_is_a_wrong_call(content, wanted, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(content)
    assert main(["explain", str(path)]) == 2
    text = capsys.readouterr().err
    assert text.startswith(f"fastnorm explain: error: {path}: ")
    assert wanted in text
    assert text.count("\n") == 1


def test_explain_suggests_the_preset_that_was_meant(capsys):
    assert main(["explain", "imagnet"]) == 2
    assert "did you mean imagenet?" in capsys.readouterr().err
