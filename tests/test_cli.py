"""The commands as a user meets them: what they print, what they write, their exit statuses."""

import dataclasses
import json
import os
import resource
import shlex
import subprocess
import sys
from importlib import metadata

import huggingface_hub
import numpy as np
import PIL
import pytest
import torch
from PIL import Image

import fastnorm
from fastnorm.backends import select
from fastnorm.cli import (
    _parser,
    _text,
    contact_sheet,
    demo,
    explain,
    main,
)
from fastnorm.data.files import shipped_photographs
from fastnorm.ops import normalize, preprocess
from fastnorm.runtime import timing
from fastnorm.spec.arguments import OUTPUT_DTYPES
from fastnorm.spec.normalization import PRESET_SOURCES, PRESETS
from fastnorm.spec.options import ALPHA_CHOICES, EXIF_CHOICES
from fastnorm.spec.presets import TARGET_PRESETS, TARGET_SOURCES
from fastnorm.verification import check, oracle, pillow_chain, published, resizing
from fastnorm.verification.checks import Report
from helpers import cpu_path, transformers_alpha

QUICK = ["--size", "64", "--clip-size", "32", "--rounds", "1", "--device", "cpu"]
VALUES = 3 * (64 * 64 + 32 * 32)  # of one image, in both tensors


@pytest.fixture
def sheet(tmp_path):
    return tmp_path / "sheet.png"


@pytest.fixture(autouse=True)
def quick_sheets(monkeypatch):
    """Compressing a sheet as far as it goes takes most of a demo's time."""
    save = Image.Image.save
    quick = {"optimize": False, "compress_level": 1}
    monkeypatch.setattr(Image.Image, "save", lambda *given, **options: save(*given, **options | quick))


@pytest.fixture
def image_folder(tmp_path):
    """A user's folder: three good JPEGs of different sizes, and three files that are of no use."""
    folder = tmp_path / "images"
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
        targets = [getattr(t, "normalization", t) for t in (args[0] if args else (kwargs["vae"], kwargs["clip"]))]
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
        ["demo", "--size", "4097"],
        ["demo", "--clip-size", "0"],
        ["demo", "--workers", "-1"],
        ["demo", "--batch-size", "none"],
        ["explain", "clip", "--value", "256"],
    ],
)
def test_a_number_out_of_range_is_a_wrong_call(argv, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    assert f"got {argv[-1]!r}, expected a whole number" in capsys.readouterr().err


def test_ctrl_c_exits_quietly(monkeypatch, capsys):
    def interrupted(_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(explain, "run", interrupted)
    assert main(["explain"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("command", ["demo", "check"])
@pytest.mark.parametrize("name", ["meta", "nonsense"])
def test_a_device_that_does_not_serve_is_a_wrong_call(command, name, capsys):
    assert main([command, "--device", name]) == 2
    assert f"--device {name}: " in capsys.readouterr().err


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def run_module(*argv, **options):
    return subprocess.Popen(
        [sys.executable, *argv], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize(
    "start",
    [("-m", "fastnorm"), ("-c", "import sys; sys.argv[0] = '/bin/fastnorm'; from fastnorm.cli import main; main()")],
    ids=["module", "script"],
)
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_help_and_the_version_need_no_torch(start, option):
    process = run_module("-X", "importtime", *start, option)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "fastnorm" in out
    imported = {line.rpartition("|")[2].strip() for line in err.splitlines() if line.startswith("import time:")}
    assert "fastnorm.cli._parser" in imported
    assert not {"torch", "numpy", "PIL", "rich"} & imported


def test_in_the_command_s_own_process_the_public_names_come_when_they_are_asked_for():
    program = (
        "import sys; sys.argv[0] = '/bin/fastnorm'; import fastnorm; assert 'torch' not in sys.modules; "
        "[getattr(fastnorm, name) for name in fastnorm.__all__]; assert fastnorm.VAE.name == 'vae'; "
        "assert not hasattr(fastnorm, 'no_such_name'); import torch; torch.ops.fastnorm.normalize"
    )
    process = run_module("-c", program)
    assert process.communicate(timeout=120) == ("", "")
    assert process.returncode == 0


def test_the_parser_s_choices_are_the_library_s():
    actions = {
        action.dest: action.choices
        for action in _parser.build_parser()._subparsers._group_actions[0].choices["demo"]._actions
    }
    assert tuple(actions["alpha"]) == ALPHA_CHOICES
    assert tuple(actions["exif"]) == EXIF_CHOICES
    assert tuple(actions["dtype"]) == tuple(str(dtype).removeprefix("torch.") for dtype in OUTPUT_DTYPES)


@pytest.mark.parametrize("module", ["fastnorm.cli._parser", "fastnorm.cli.explain", "torch", "numpy", "torch.nn"])
def test_ctrl_c_while_something_is_being_imported_exits_quietly(module):
    program = (
        "import os, signal, sys\n"
        # Tests that a shell runs in the background are started with Ctrl-C ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupts:\n"
        "    def find_spec(name, *_):\n"
        f"        if name == {module!r}:\n"
        "            try: os.kill(os.getpid(), signal.SIGINT)\n"
        f"            except KeyboardInterrupt:\n"
        f"                if name == 'fastnorm.cli._parser': raise\n"
        "                os.abort()  # as torch's C++ code does\n"
        "sys.meta_path.insert(0, Interrupts)\n"
        "sys.argv = ['/bin/fastnorm', 'explain', 'clip']\n"
        "from fastnorm.cli import main\n"
        "sys.exit(main())"
    )
    process = run_module("-c", program)
    assert process.communicate(timeout=120) == ("", "")
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("explain clip >/dev/full", "output cannot be written (No space left on device)"),
        ("--help >/dev/full", "output cannot be written (No space left on device)"),
        ("demo --help >/dev/full", "output cannot be written (No space left on device)"),
        ("explain clip >&-", "standard output is closed"),
    ],
)
def test_an_output_that_cannot_be_written_is_one_line(call, why):
    command = f"{shlex.quote(sys.executable)} -m fastnorm {call}"
    result = subprocess.run(command, shell=True, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("fastnorm: error: ")
    assert why in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_closed_stderr_does_no_harm(sheet):
    """Although the demo draws its progress there; without the published libraries, which take seconds to import."""
    program = (
        "import sys; sys.modules.update(torchvision=None, transformers=None); from fastnorm.cli import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["-c", program, "demo", str(shipped_photographs()[0]), *QUICK, "--output", str(sheet)]
    command = f"{shlex.join([sys.executable, *arguments])} 2>&-"
    result = subprocess.run(command, shell=True, env=environment(), stdout=subprocess.PIPE, check=False)
    assert result.returncode == 0
    assert sheet.exists()


def test_a_reader_that_leaves_early_causes_no_traceback():
    process = run_module("-m", "fastnorm", "explain")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 141
    assert err == ""


# demo


def without(monkeypatch, *libraries):
    """As on a machine where these are not installed, though something has imported them already."""
    for library in libraries:
        for name in [name for name in sys.modules if name == library or name.startswith(f"{library}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, library, None)


def test_demo_of_the_shipped_photographs(sheet, capsys):
    assert main(["demo", *QUICK, "--output", str(sheet)]) == 0
    captured = capsys.readouterr()
    flat = " ".join(captured.out.split())
    count = len(shipped_photographs())
    assert f"the {count} photographs shipped with fastnorm\n" in captured.out
    assert "300 x 451 to 558 x 640 pixels, height x width" in captured.out
    assert f" on {select.path_name(torch.device('cpu'))}\n" in captured.out
    assert f"0 of {count * VALUES:,} values differ from torchvision {torchvision_version()} and transformers " in flat
    assert f"({count}, 3, 64, 64)" in captured.out
    assert f"({count}, 3, 32, 32)" in captured.out
    assert "samples/s" in captured.out
    assert "one fused_dual_preprocess call on the same PIL images" in flat
    assert "speed is against the faster published chain" in flat
    assert all(len(line) <= 100 for line in captured.out.splitlines() if str(sheet) not in line)
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        height = contact_sheet.HEADER + count * contact_sheet.ROW + contact_sheet.FOOTER
        assert image.size == (contact_sheet.WIDTH, height)


def torchvision_version():
    import torchvision

    return torchvision.__version__.partition("+")[0]


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_speed_is_against_the_faster_published_chain(monkeypatch, set_threads, sheet, capsys):
    monkeypatch.setattr(timing, "interleaved", lambda calls, *_: [0.5, 4.0, 2.0][: len(calls)])
    set_threads(2)
    photographs = [str(path) for path in shipped_photographs()[:2]]
    assert main(["demo", *photographs, *QUICK, "--output", str(sheet)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["fastnorm", "4.00", "250", "4.0", "x"] in rows
    assert ["published", "chain,", "2", "threads", "1.00", "1,000", "1.0", "x"] in rows
    assert ["other", "0.50", "2,000", "0.5", "x"] in [row[-5:] for row in rows], "one image after the other"


def test_demo_on_one_thread_times_the_published_chain_once(set_threads, sheet, capsys):
    set_threads(1)
    assert main(["demo", str(shipped_photographs()[0]), *QUICK, "--output", str(sheet)]) == 0
    assert capsys.readouterr().out.count("\npublished chain, ") == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_demo_in_narrower_dtypes(dtype, sheet, capsys):
    photograph = str(shipped_photographs()[0])
    assert main(["demo", photograph, *QUICK, "--dtype", dtype, "--output", str(sheet)]) == 0
    text = capsys.readouterr().out
    assert f"0 of {VALUES:,} values differ" in text
    assert f"rounded once from float32 to {dtype}" in " ".join(text.split())


@pytest.mark.parametrize(
    ("missing", "wanted"),
    [
        (["torchvision"], "{pillow} and transformers {transformers} (torchvision is not installed). "),
        (["transformers"], "torchvision {torchvision} and {pillow} (transformers is not installed). "),
        (
            ["torchvision", "transformers"],
            "{pillow} (torchvision is not installed and transformers is not installed). ",
        ),
    ],
    ids=["torchvision", "transformers", "both"],
)
def test_demo_takes_the_same_steps_where_a_library_is_missing_and_says_so(missing, wanted, monkeypatch, sheet, capsys):
    versions = {
        "pillow": f"Pillow {PIL.__version__}'s resize and the published formula in eager torch",
        "torchvision": torchvision_version(),
        "transformers": metadata.version("transformers"),
    }
    without(monkeypatch, *missing)
    photographs = [str(path) for path in shipped_photographs()]
    assert main(["demo", *photographs, *QUICK, "--output", str(sheet)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"0 of {5 * VALUES:,} values differ from {wanted.format(**versions)}" in text
    assert "Pillow's resize and crop, / 255, - mean, / std in eager torch" in text


def test_demo_leaves_bad_files_out_and_names_them(image_folder, sheet, capsys):
    assert main(["demo", str(image_folder), str(image_folder / "gone.jpg"), *QUICK, "--output", str(sheet)]) == 0
    captured = capsys.readouterr()
    assert "3 images (4 left out, listed above)" in captured.out
    assert "left out 4, used 3:" in captured.err
    for name in ("truncated.jpg", "empty.jpg", "glass.png", "gone.jpg"):
        assert f"  {image_folder / name}: " in captured.err


def test_demo_leaves_out_a_strip_that_its_batch_could_not_hold(image_folder, sheet, capsys):
    Image.new("RGB", (1, 60000)).save(image_folder / "thin.png")
    assert main(["demo", str(image_folder), *QUICK, "--size", "512", "--output", str(sheet)]) == 0
    captured = capsys.readouterr()
    assert "3 images (4 left out, listed above)" in captured.out
    assert f"  {image_folder / 'thin.png'}: vae: the image of 60000 x 1 pixels would become " in captured.err


def test_demo_lets_the_user_choose_about_transparency(image_folder, sheet, capsys):
    arguments = [str(image_folder / "glass.png"), *QUICK, "--output", str(sheet)]
    assert main(["demo", *arguments]) == 1
    assert main(["demo", *arguments, "--alpha", "drop"]) == 0
    assert " 1.0000   1.0000\n" not in capsys.readouterr().out
    assert main(["demo", *arguments, "--alpha", "white"]) == 0
    assert "1 image\nsizes    80 x 80 pixels," in capsys.readouterr().out


def test_demo_survives_a_batch_of_bad_files_with_workers(image_folder, sheet, capfd):
    # Sorted by name: one batch per file, so that three batches hold nothing at all.
    assert main(["demo", str(image_folder), *QUICK, "--batch-size", "1", "--workers", "1", "--output", str(sheet)]) == 0
    out, err = capfd.readouterr()
    assert "3 images (3 left out, listed above)\nsizes    70 x 70 to 60 x 90 pixels, height x width\n" in out
    assert "3 from a DataLoader (1 worker)" in out
    assert "left out 3, used 3:" in err
    assert "Traceback" not in err
    with Image.open(sheet) as image:
        assert image.height == contact_sheet.HEADER + 3 * contact_sheet.ROW + contact_sheet.FOOTER


def test_demo_fails_when_every_image_is_bad(image_folder, sheet, capsys):
    assert main(["demo", str(image_folder / "empty.jpg"), *QUICK, "--output", str(sheet)]) == 1
    assert "left out 1, used 0:" in capsys.readouterr().err
    assert not sheet.exists()


def test_demo_with_nothing_to_read_is_a_wrong_call(tmp_path, sheet, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["demo", str(empty), str(tmp_path / "gone"), "--output", str(sheet)]) == 2
    text = capsys.readouterr().err
    assert f"{empty}: got a folder without image files" in text
    assert f"{tmp_path / 'gone'}: got no such file or folder" in text
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
    for index in range(demo.MAX_ROWS + 2):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / f"{index:02}.png")
    assert main(["demo", str(tmp_path), *QUICK, "--size", "8", "--batch-size", "3", "--output", str(sheet)]) == 0
    assert f"the first {demo.MAX_ROWS} of {demo.MAX_ROWS + 2} images" in capsys.readouterr().out
    with Image.open(sheet) as image:
        assert image.height == contact_sheet.HEADER + demo.MAX_ROWS * contact_sheet.ROW + contact_sheet.FOOTER


def test_demo_exits_1_when_a_value_differs(monkeypatch, sheet, tmp_path, capsys):
    Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / "plain.png")
    wrong = wrong_by_one_bit(fastnorm.fused_dual_preprocess, fastnorm.CLIP, channel=1, code=20)
    monkeypatch.setattr(preprocess, "fused_dual_preprocess", wrong)
    arguments = [str(tmp_path / "plain.png"), *QUICK, "--size", "8", "--clip-size", "4", "--output", str(sheet)]
    assert main(["demo", *arguments]) == 1
    assert "16 of 240 values differ" in capsys.readouterr().out


# demo: what it writes


def test_demo_refuses_to_overwrite_an_image_that_it_reads(image_folder, capsys):
    mine = image_folder / "mine.png"
    Image.new("RGB", (80, 80), (1, 2, 3)).save(mine)
    before = mine.read_bytes()
    link = image_folder.parent / "link.png"
    link.symlink_to(mine)
    for images, output in [(mine, mine), (image_folder, mine), (mine, link), (link, mine)]:
        assert main(["demo", str(images), *QUICK, "--output", str(output)]) == 2
        captured = capsys.readouterr()
        assert f"--output {output}: got one of the images to read, expected another file" in captured.err
        assert captured.err.count("\n") == 1
        assert mine.read_bytes() == before


def test_demo_of_a_folder_may_replace_the_sheet_that_an_earlier_one_left_there(image_folder, capsys):
    arguments = ["demo", str(image_folder), *QUICK, "--output", str(image_folder / "sheet.png")]
    assert main(arguments) == 0
    assert main(arguments) == 0
    assert "3 images (3 left out, listed above)" in capsys.readouterr().out, "the sheet is none of the images"


def test_demo_on_a_full_disk_keeps_the_existing_sheet(sheet, capsys):
    photograph = str(shipped_photographs()[0])
    assert main(["demo", photograph, *QUICK, "--output", str(sheet)]) == 0
    before = sheet.read_bytes()
    sheet.chmod(0o644)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        assert main(["demo", photograph, *QUICK, "--output", str(sheet)]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"--output {sheet}: cannot be written (File too large)" in capsys.readouterr().err
    assert sheet.read_bytes() == before
    assert list(sheet.parent.iterdir()) == [sheet]


def test_a_sheet_has_the_permissions_of_any_new_file_and_stays_behind_its_link(tmp_path):
    kept = tmp_path / "kept.png"
    link = tmp_path / "link.png"
    link.symlink_to(kept)
    assert main(["demo", str(shipped_photographs()[0]), *QUICK, "--output", str(link)]) == 0
    (tmp_path / "new").touch()
    assert link.is_symlink()
    assert kept.stat().st_mode == (tmp_path / "new").stat().st_mode


# demo: what it says about files


def tagged(folder, name, orientation, size=(90, 60)):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.effect_noise(size, 60).convert("RGB").save(folder / name, exif=exif)


def test_demo_takes_an_exif_orientation_as_the_library_does_and_says_how_many_there_were(tmp_path, sheet, capsys):
    for index in range(5):
        tagged(tmp_path, f"turned{index}.jpg", 6)
    tagged(tmp_path, "upright.jpg", 1, (80, 80))
    arguments = ["demo", str(tmp_path), *QUICK, "--output", str(sheet)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "60 x 90 to 80 x 80 pixels, height x width" in captured.out
    first = ", ".join(str(tmp_path / f"turned{index}.jpg") for index in range(3))
    assert f"note: 5 images ({first} and 2 more): an EXIF orientation, which is ignored" in captured.err
    assert "--exif apply" in captured.err

    assert main([*arguments, "--exif", "apply"]) == 0
    captured = capsys.readouterr()
    assert "90 x 60 to 80 x 80 pixels, height x width" in captured.out
    assert "EXIF" not in captured.err

    assert main([*arguments, "--exif", "error"]) == 0
    captured = capsys.readouterr()
    assert "1 image (5 left out, listed above)" in captured.out
    assert "got an EXIF orientation of 6, expected an upright image; choose --exif ignore" in captured.err


def test_many_bad_files_are_listed_by_a_few_unless_all_are_wanted(tmp_path, sheet, capsys):
    Image.new("RGB", (80, 80)).save(tmp_path / "good.png")
    for index in range(40):
        (tmp_path / f"bad{index:02}.jpg").write_bytes(b"")
    arguments = ["demo", str(tmp_path), *QUICK, "--output", str(sheet)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0] == "left out 40, used 1:"
    assert captured.err.count("an empty file") == 5
    assert captured.err.splitlines()[-1] == "  and 35 more; --verbose lists them all"
    assert main([*arguments, "--verbose"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("an empty file") == 40
    assert "more" not in captured.err


def test_verbose_names_every_image_that_a_note_is_about(tmp_path, sheet, capsys):
    for index in range(9):
        tagged(tmp_path, f"turned{index}.jpg", 6)
    assert main(["demo", str(tmp_path), *QUICK, "--verbose", "--output", str(sheet)]) == 0
    err = capsys.readouterr().err
    assert all(f"turned{index}.jpg" in err for index in range(9))


def test_a_dangling_link_is_mentioned(image_folder, sheet, capsys):
    (image_folder / "moved.jpg").symlink_to("/nowhere/at all.jpg")
    (image_folder / "notes").symlink_to("/nowhere/notes")  # which nobody would take for an image
    assert main(["demo", str(image_folder), *QUICK, "--output", str(sheet)]) == 0
    captured = capsys.readouterr()
    assert "(4 left out, listed above)" in captured.out
    wanted = f"  {image_folder / 'moved.jpg'}: got a link to /nowhere/at all.jpg, which does not exist, "
    assert wanted in captured.err
    assert main(["demo", str(image_folder / "moved.jpg"), *QUICK, "--output", str(sheet)]) == 2
    assert wanted in capsys.readouterr().err


# demo: progress and figures


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_on_terminals_only(terminal, sheet, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    photographs = [str(path) for path in shipped_photographs()[:2]]
    assert main(["demo", *photographs, *QUICK, "--output", str(sheet)]) == 0
    err = capsys.readouterr().err
    assert ("2/2" in err) if terminal else (err == "")


def test_no_color_is_respected(sheet, monkeypatch, capsys):
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    arguments = ["demo", str(shipped_photographs()[0]), *QUICK, "--output", str(sheet)]
    assert main(arguments) == 0
    assert "\x1b[32m" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(arguments) == 0
    assert "\x1b[32m" not in capsys.readouterr().err


@pytest.mark.parametrize("columns", [40, 60, 200])
def test_tables_and_paragraphs_fit_the_terminal(columns, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    rows = [
        ("cell", "peer", "time"),
        ("16x512x512 NHWC [fp32]", "torchvision + transformers (Pillow backend)", "1.38x"),
    ]
    _text.print_table(rows, "llr")
    print(_text.paragraph("a word " * 40))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert "".join("".join(lines).split()).count("[fp32]") == 1, "brackets are no markup"


def test_a_table_that_is_not_for_a_terminal_keeps_its_lines_whole(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    _text.print_table([("a", "b"), ("x" * 90, "1"), ("y", "22")], "lr")
    assert capsys.readouterr().out == f"a{' ' * 89}   b\n{'x' * 90}   1\ny{' ' * 89}  22\n\n"


@pytest.mark.parametrize(
    ("value", "shown"), [(1234.4, "1,234"), (123.4, "123"), (45.67, "45.7"), (4.0, "4.00"), (0.4567, "0.46")]
)
def test_figures_have_three_digits(value, shown):
    assert _text.significant(value) == shown


# The chain that the demo compares with, where it is not the published code itself


@pytest.mark.parametrize("at", ["torchvision", "transformers"])
@pytest.mark.parametrize(("size", "crop"), [(16, 16), (17, 12), (19, 12), (15, 12), (9, 14), (9, 15), (10, 15)])
def test_pillows_chain_has_the_published_pixels(at, size, crop):
    rule = fastnorm.Crop(crop, at)
    chain = {"torchvision": published.vae_chain, "transformers": published.clip_chain}[at]
    target = fastnorm.Target(fastnorm.CLIP, size, "bicubic", rule)
    for shape in [(40, 31), (31, 40), (23, 23), (70, 20), (1, 5), (size, size)]:
        image = Image.effect_noise(shape, 90).convert("RGB")
        expected = chain(target).run(image)
        codes = torch.from_numpy(np.array(pillow_chain.resize_and_crop(image, target)))
        (values,) = fastnorm.reference.normalize(codes, [fastnorm.CLIP], layout="HWC")
        assert torch.equal(values, expected)


def test_a_target_without_a_published_chain_is_refused():
    with pytest.raises(ValueError, match="expected a target with a short side and a crop"):
        published.vae_chain(fastnorm.Target(fastnorm.VAE, (8, 8), crop=8))


# check


@pytest.mark.usefixtures("few_resizes")
def test_check_is_a_function_too():
    steps = []
    report = check([fastnorm.VAE], "cpu", lambda done, total, name: steps.append((done, total, name)))
    assert report.passed
    assert report.values == sum(line.values for line in report.normalized + report.resized) > 0
    assert [line.name for line in report.resized] == [
        "bilinear",
        "bicubic",
        "lanczos",
        "box",
        "hamming",
        "nearest",
        "VAE_512, CLIP_224",
    ]
    assert {(line.name, line.dtype) for line in report.normalized} >= {("vae", dtype) for dtype in OUTPUT_DTYPES}
    assert [done for done, _, _ in steps] == list(range(1, steps[0][1] + 1))
    assert {name for _, _, name in steps} >= {"vae", "lanczos"}
    with pytest.raises(ValueError, match="got no normalizations, expected at least one"):
        check([])


@pytest.fixture
def few_resizes(monkeypatch):
    """Enough to see whether a wrong value is found, not to prove anything."""
    monkeypatch.setattr(resizing, "SMALL", ((48, 48), (2, 3), (97, 31)))
    monkeypatch.setattr(resizing, "MEDIUM", ((224, 224),))


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
    assert f"Pillow {PIL.__version__}'s Image.resize" in captured.out
    for name in ("bilinear", "bicubic", "lanczos", "box", "hamming", "VAE_512, CLIP_224"):
        (row,) = (row for row in rows if row[:-2] == name.split())
        assert int(row[-2].replace(",", "")) > 1_000_000
        assert row[-1] == "0"
    assert all(len(line) <= 100 for line in captured.out.splitlines())
    assert "passed: 0 of" in captured.out


@pytest.mark.usefixtures("few_resizes")
def test_check_exits_1_for_one_wrong_bit_and_says_where(monkeypatch, capsys):
    target = fastnorm.Normalization((0.1, 0.2, 0.3), 0.7)
    wrong = wrong_by_one_bit(fastnorm.fused_normalize, target, channel=1, code=17)
    monkeypatch.setattr(normalize, "fused_normalize", wrong)
    assert main(["check", "--device", "cpu", "--mean", "0.1", "0.2", "0.3", "--std", "0.7"]) == 1
    text = capsys.readouterr().out
    assert "wrong: custom float32, channel G, pixel value 17: got " in text
    assert "more outputs with wrong values" in text
    assert "\nFAILED: " in text
    rows = {tuple(line.split()[:2]): line.split()[3] for line in text.splitlines() if len(line.split()) == 4}
    assert rows["custom", "bfloat16"] != "0"
    assert rows["clip", "bfloat16"] == "0"


@pytest.mark.usefixtures("few_resizes")
def test_check_catches_swapped_channels_even_where_constants_agree(monkeypatch, capsys):
    right = fastnorm.fused_normalize
    monkeypatch.setattr(normalize, "fused_normalize", lambda *a, **k: tuple(o.flip(1) for o in right(*a, **k)))
    assert main(["check", "--device", "cpu", "--mean", "0.5", "--std", "0.5"]) == 1
    assert "wrong: custom float32, channel R" in capsys.readouterr().out


def one_more(call):
    """`fused_preprocess`, but one value of the second target is off by the last bit where `call` says so."""

    def wrapped(images, targets, **options):
        outputs = right(images, targets, **options)
        if call(images, targets):
            outputs[1].view(torch.int16)[0, 2, 5, 7] ^= 1
        return outputs

    right = fastnorm.fused_preprocess
    return wrapped


@pytest.mark.usefixtures("few_resizes")
@pytest.mark.parametrize(
    ("filter_", "kind", "is_it"),
    [
        ("hamming", "packed images", lambda images: isinstance(images, fastnorm.PackedImages)),
        ("lanczos", "a list of tensors", lambda images: isinstance(images, list) and torch.is_tensor(images[0])),
        ("box", "PIL images", lambda images: isinstance(images, list) and not torch.is_tensor(images[0])),
        ("bicubic", "an NCHW batch", lambda images: torch.is_tensor(images) and images.shape == (2, 3, 48, 48)),
    ],
    ids=["packed", "list", "pil", "batch"],
)
def test_check_exits_1_for_one_wrong_bit_of_a_resized_image(filter_, kind, is_it, monkeypatch, capsys):
    wrong = one_more(lambda images, targets: targets[0].resample == filter_ and len(targets) == 3 and is_it(images))
    monkeypatch.setattr(preprocess, "fused_preprocess", wrong)
    assert main(["check", "--device", "cpu", "--mean", "0.5", "--std", "0.5"]) == 1
    text = capsys.readouterr().out
    assert f"wrong: {filter_}, {kind}, 48 x 48 to custom 40, channel B, row 5, column 7: got " in text
    rows = {line.split()[0]: line.split()[-1] for line in text.splitlines() if len(line.split()) == 3}
    assert [rows[name] for name in ("box", "bilinear", "hamming", "bicubic", "lanczos")].count("0") == 4
    assert rows[filter_] == "1"
    assert "\nFAILED: 1 of " in text


@pytest.mark.usefixtures("few_resizes")
def test_check_catches_pixels_that_are_one_column_off(monkeypatch, capsys):
    right = fastnorm.fused_preprocess
    monkeypatch.setattr(preprocess, "fused_preprocess", lambda *a, **k: tuple(o.roll(1, -1) for o in right(*a, **k)))
    assert main(["check", "--device", "cpu", "--mean", "0.5", "--std", "0.5"]) == 1
    assert "more outputs with wrong values" in capsys.readouterr().out


@pytest.mark.usefixtures("few_resizes")
def test_check_of_a_configuration(tmp_path, capsys):
    config = {"image_processor_type": "MyProcessor", "image_mean": [0.1, 0.2, 0.3], "image_std": [0.3, 0.2, 0.1]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    assert main(["check", "--device", "cpu", "--config", str(tmp_path)]) == 0
    assert "\nMyProcessor  bfloat16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--mean", "0.5"], "got --mean alone, expected both"),
        (["--std", "0.5"], "got --std alone"),
        (["--mean", "0.5", "--std", "0"], "expected a value > 0"),
        (["--mean", "1", "2", "--std", "1"], "got 2 values"),
        (["--mean", "123.675", "--std", "58.395"], "divide by 255"),
        (["--config", "gone.json"], "gone.json: no such file"),
        (["--config", "gone.json", "--mean", "1", "--std", "1"], "expected one of the two"),
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
        (row,) = (line for line in lines[3 : 3 + len(PRESETS)] if line.startswith(f"{name} "))
        assert str(preset.mean[0]) in row
        assert str(preset.std[-1]) in row
        assert PRESET_SOURCES[name] in flat


def test_explain_says_whose_bits_the_targets_give(capsys):
    assert main(["explain"]) == 0
    text = capsys.readouterr().out
    for name, source in TARGET_SOURCES.items():
        assert f"\n{name} " in text
        assert source in " ".join(text.split())


def test_explain_says_whose_arithmetic_and_which_order_the_targets_have(capsys):
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, target in TARGET_PRESETS.items():
        order = target.normalization.order
        (row,) = (line for line in lines if line.startswith(f"{name} ") and line.endswith(f" {order}"))
        size = "by a rule" if callable(target.size) else str(target.size)
        size = "{} x {}".format(*target.size) if isinstance(target.size, tuple) else size
        assert f"{size} " in row
        assert all(f" {word} " in row for word in (target.resample, target.arithmetic))
    assert all(len(line) <= 100 for line in lines)


@pytest.mark.parametrize(
    ("preset", "order"), [("clip", o) for o in ("to_tensor", "to_dtype", "fused")] + [("vae", "scale_shift")]
)
def test_explain_in_an_order(preset, order, capsys):
    assert main(["explain", preset, "--order", order, "--value", "17"]) == 0
    text = capsys.readouterr().out
    assert f"Order {order}: " in text
    assert PRESET_SOURCES[preset] in " ".join(text.split())
    target = dataclasses.replace(PRESETS[preset], order=order)
    (value,) = fastnorm.reference.normalize(torch.full((3, 1, 1), 17, dtype=torch.uint8), [target], layout="CHW")
    rows = [line.split() for line in text.splitlines()]
    for channel, letter in enumerate("RGB"):
        (row,) = (row for row in rows if row[:2] == ["17", letter])
        assert torch.tensor(float(row[4])) == value[channel, 0, 0]


def test_explain_refuses_an_order_that_is_not_for_the_constants(capsys):
    assert main(["explain", "clip", "--order", "scale_shift"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("fastnorm explain: error: --order: got 'scale_shift'")
    assert text.count("\n") == 1


def test_every_preset_has_a_source():
    assert PRESET_SOURCES.keys() == PRESETS.keys()


@pytest.mark.parametrize("command", [["check", "--device", "cpu"], ["explain"], ["explain", "clip"]])
def test_reports_say_which_path_the_cpu_takes_and_what_would_help(command, monkeypatch, capsys):
    monkeypatch.setattr("fastnorm.cli.check.check", lambda *_: Report((), (), (), ()))
    with cpu_path("torch"):
        assert main(command) == 0
    flat = " ".join(capsys.readouterr().out.split())
    assert f"torch on CPU, {_text.plural(torch.get_num_threads(), 'thread')}" in flat
    assert "not as fast as it could be: FASTNORM_CPU=torch switches the native code off" in flat


@pytest.mark.parametrize("command", ["check", "demo", "explain"])
def test_an_unknown_word_in_fastnorm_cpu_is_a_wrong_call(command, capsys):
    with cpu_path("sse2"):
        assert main([command]) == 2
    assert "FASTNORM_CPU: got 'sse2', expected one of auto, vnni, avx2, portable, torch" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*PRESETS, "CLIP"])
def test_explain_shows_the_values_of_a_preset(name, capsys):
    assert main(["explain", name, "--value", "0", "17", "255"]) == 0
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


def test_explain_of_a_target_shows_its_geometry(capsys):
    assert main(["explain", "vae_256_adm", "--value", "255"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("VAE_256_ADM: center_crop_arr of the ADM code base")
    assert "  1. halve, box, for as long as the short side is 512 or more\n" in text
    assert "  2. resize, bicubic: by the rule Sides(shortest=256, rule='transformers', rounding='round')\n" in text
    assert "  3. crop 256 x 256 in the centre: half the margin, rounded down; black around smaller images\n" in text
    rows = [line.split("  ") for line in text.splitlines() if line.startswith("1536 x 1024")]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["1536 x 1024", "384 x 256", "256 x 256"]
    ]
    assert "vae: Stable Diffusion's VAE takes pixels in [-1, 1]" in text


def test_explain_of_a_configuration(tmp_path, capsys):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({"image_mean": list(fastnorm.CLIP.mean), "image_std": list(fastnorm.CLIP.std)}))
    assert main(["explain", str(path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "the same constants as the preset clip" in text
    assert "0.48145467042922974" in text, "the constant as float32 holds it"


CLIP_FILE = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 320}, "resample": 3}


def explained(folder, values, *options):
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return main(["explain", str(folder), "--value", "255", *options])


def test_explain_of_a_configuration_shows_its_geometry_in_either_backend(tmp_path, capsys):
    assert explained(tmp_path, CLIP_FILE, "--backend", "pil") == 0
    text = capsys.readouterr().out
    assert "  1. resize, bicubic: the short side to 320, the long side in proportion, rounded down\n" in text
    assert "  2. crop 224 x 224 in the centre: half the margin, rounded down; black around smaller images\n" in text
    assert f"Transparent pixels: {transformers_alpha()}" in text
    assert "Order to_tensor: " in text
    assert "the same constants as the preset clip" in text
    rows = [line.split("  ") for line in text.splitlines() if line.startswith("480 x 640")]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [["480 x 640", "320 x 426", "224 x 224"]]
    for options in (["--backend", "torchvision"], []):
        assert explained(tmp_path, CLIP_FILE, *options) == 0
        text = capsys.readouterr().out
        assert "  1. resize, bicubic in torch's arithmetic: the short side to 320" in text
        assert "Order fused: " in text
    assert explained(tmp_path, CLIP_FILE, "--order", "to_dtype") == 0
    assert "Order to_dtype: " in capsys.readouterr().out


def test_explain_of_a_configuration_of_blue_first(tmp_path, capsys):
    assert explained(tmp_path, {"image_processor_type": "MobileViTImageProcessor"}) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "2. crop 256 x 256 in the centre: half the margin, rounded towards zero; black around smaller images" in text
    assert "The output's channels are B, G, R; mean and std are those of R, G, B" in text


def test_explain_of_a_geometry_that_is_refused_still_shows_the_normalisation(tmp_path, capsys):
    dinov3 = {"image_processor_type": "DINOv3ViTImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    assert explained(tmp_path, dinov3) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Geometry: " in text
    assert "it resizes floats" in text
    assert "the same constants as the preset vae" in text


def test_explain_shows_sizes_that_a_rule_refuses(tmp_path, capsys):
    assert explained(tmp_path, {"image_processor_type": "Gemma4ImageProcessor", "max_soft_tokens": 70}) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "a list of tensors, one per image" in text
    assert explained(tmp_path, {"image_processor_type": "GLPNImageProcessor", "size_divisor": 300}) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "200 x 200 refused" in text


def test_a_backend_is_for_configurations(capsys):
    assert main(["explain", "clip", "--backend", "pil"]) == 2
    assert "--backend: got 'pil' for the preset clip, expected a configuration" in capsys.readouterr().err


def test_explain_of_a_model_in_the_local_cache(tmp_path, monkeypatch, capsys):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(CLIP_FILE))
    found = {("someone/model", path.name): str(path)}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *key: found.get(key))
    assert main(["explain", "someone/model", "--backend", "pil"]) == 0
    assert "the short side to 320" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("{}", "no image_mean and image_std"),
        ("[]", "expected a JSON object"),
        ("not json", "not JSON"),
        ('{"image_mean": 0.5, "image_std": 0}', "expected a value > 0"),
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


def said(argument, capsys):
    assert main(["explain", argument]) == 2
    text = capsys.readouterr().err
    assert text.startswith(f"fastnorm explain: error: {argument}: ")
    assert text.count("\n") == 1
    return text


def test_explain_of_a_preset_written_as_a_path_names_the_preset(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "no such file; the preset is: fastnorm explain siglip" in said("./siglip", capsys)


def test_explain_of_a_model_s_id_says_how_to_get_its_configuration(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    wanted = "hf download openai/clip-vit-large-patch14 preprocessor_config.json"
    assert wanted in said("openai/clip-vit-large-patch14", capsys)
    assert main(["check", "--config", "openai/clip-vit-large-patch14"]) == 2
    assert wanted in capsys.readouterr().err
    assert "hf download" not in said("./clip", capsys)
    assert "hf download" not in said("sd15/", capsys)
    assert "hf download" not in said("a/b/c", capsys)


def test_explain_of_a_pipeline_s_folder_names_what_can_be_explained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for part in ("feature_extractor", "image_encoder", "vae"):
        (tmp_path / "sd15" / part).mkdir(parents=True)
    (tmp_path / "sd15" / "feature_extractor" / "preprocessor_config.json").write_text("{}")
    (tmp_path / "sd15" / "vae" / "config.json").write_text("{}")
    assert "below it: fastnorm explain sd15/feature_extractor" in said("sd15/", capsys)
    (tmp_path / "sd15" / "model_index.json").write_text("{}")
    text = said("sd15", capsys)
    assert "a diffusers pipeline; for its VAE: fastnorm explain vae; " in text
    assert "fastnorm explain sd15/feature_extractor" in text


def test_explain_of_a_folder_without_any_configuration(tmp_path, capsys):
    assert "found none" in said(str(tmp_path), capsys)


def test_a_word_too_long_for_a_path_is_a_wrong_call(capsys):
    for arguments in (["explain", "a" * 5000], ["check", "--config", "a" * 5000]):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"fastnorm {arguments[0]}: error: aaa")
        assert error.count("\n") == 1
