"""The native library: found, compiled once, refused where it is wrong; and FASTNORM_CPU, which chooses a path."""

import functools
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

import fastnorm
from fastnorm.backends.cpu import native, torch_normalization
from fastnorm_native import Instructions, building, loading
from helpers import assert_same_bits, available_instructions, cpu_path, random_pixels

pytestmark = pytest.mark.compat

OBJECTS = tempfile.TemporaryDirectory()


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As in a new process that has no library beside the package and nothing in its cache."""
    monkeypatch.delenv(native.VARIABLE, raising=False)
    monkeypatch.setenv("FASTNORM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(building, "LIBRARY_NAME", "libfastnorm-test.so")
    loading._found.cache_clear()
    native.engine.cache_clear()
    yield tmp_path / "cache"
    loading._found.cache_clear()
    native.engine.cache_clear()


def small_build(monkeypatch):
    """Compiles each file once for all tests that do not change it, optimising little, which is quicker."""
    monkeypatch.setattr(building, "build", lambda output: link(output, [path for path, _ in objects()]))


def objects():
    """The object file of each source, and what the compiler had to say about it."""
    return [
        compiled(path.name, code := text(path), building.fingerprint() if "FASTNORM_FINGERPRINT" in code else "")
        for path in building.sources()
    ]


def text(path):
    """Of a source with its headers, which tells it from one that a test has changed."""
    code = path.read_text()
    return code + "".join(text(building.SOURCES / name) for name in re.findall('#include "(.*)"', code))


@functools.cache
def compiled(name, code, identity):
    del code
    output = Path(tempfile.mkdtemp(dir=OBJECTS.name), name).with_suffix(".o")
    flags = (*building.WARNINGS, "-Wno-error", "-O1", f'-DFASTNORM_FINGERPRINT="{identity}"')
    said = run(*flags, "-c", "-o", str(output), str(building.SOURCES / name))
    return str(output), said


def link(output, objects):
    run("-shared", "-o", str(output), *objects, "-lm")


def run(*arguments):
    command = [*building.compiler(), *building.FLAGS, *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True).stderr


def warned():
    """The library, its status, and the text of the one warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, status = loading.library(), loading.status()
        loading.library()
    (warning,) = caught
    assert warning.category is RuntimeWarning
    return found, status, str(warning.message)


def assert_torch_computes():
    batch = random_pixels(2, 9, 8, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = fastnorm.fused_dual_normalize(batch)
    assert native.engine() is None
    for output, value in zip(got, fastnorm.reference.normalize(batch, [fastnorm.VAE, fastnorm.CLIP]), strict=True):
        assert_same_bits(output, value)


# --- the processor


def test_the_best_instructions_are_those_that_the_system_reports():
    flags = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE).group(1).split())
    expected = Instructions.PORTABLE
    if {"avx2", "fma", "f16c"} <= flags:
        expected = Instructions.AVX2
        if {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni"} <= flags:
            expected = Instructions.VNNI
    assert loading.library().best == expected


# --- compiling


def test_this_machine_has_the_native_code():
    assert loading.status() == ""
    with cpu_path("auto"):
        assert native.engine() is not None


@pytest.mark.once
def test_a_bare_checkout_compiles_once(fresh, monkeypatch):
    small_build(monkeypatch)
    first = loading.library()
    assert first.path.is_relative_to(fresh)
    assert [path.name for path in first.path.parent.iterdir()] == [building.LIBRARY_NAME]
    monkeypatch.setattr(building, "build", None)
    loading._found.cache_clear()
    assert loading.library().path == first.path


@pytest.mark.usefixtures("fresh")
def test_other_sources_flags_and_compilers_have_other_places_in_the_cache(monkeypatch, tmp_path):
    keys = {loading._cache_key()}
    monkeypatch.setattr(building, "FLAGS", (*building.FLAGS, "-DOTHER"))
    keys.add(loading._cache_key())
    monkeypatch.setenv("CC", f"{sys.executable} -m ziglang cc")
    keys.add(loading._cache_key())
    shutil.copytree(building.SOURCES, tmp_path / "src")
    monkeypatch.setattr(building, "SOURCES", tmp_path / "src")
    with (tmp_path / "src" / "half.h").open("a") as header:
        header.write("// changed\n")
    keys.add(loading._cache_key())
    assert len(keys) == 4


@pytest.mark.once
def test_processes_that_compile_at_the_same_time_do_not_disturb_one_another(fresh):
    link = [*building.compiler(), "-shared", *(path for path, _ in objects()), "-lm", "-o"]
    program = f"""
from fastnorm_native import building, library
# In place of compiling for seconds: all three are still at it when the first has a library.
building.command = lambda compiler, output, extra: ["sh", "-c", 'sleep 1; "$@"', "sh", *{link}, str(output)]
building.LIBRARY_NAME = "libfastnorm-test.so"
print(library().path.parent.name)
"""
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    results = [process.communicate(timeout=300) for process in running]
    assert len({folder for folder, _ in results}) == 1, results
    assert [error for _, error in results] == ["", "", ""]
    (library,) = fresh.glob("*/*")
    assert library.name == "libfastnorm-test.so"


@pytest.mark.once
def test_the_compiler_has_nothing_to_warn_of():
    """Clang neither: test_wheel.py compiles with it."""
    assert {said for _, said in objects()} == {""}


def test_only_the_interface_is_exported():
    done = subprocess.run(
        ["nm", "-D", "--defined-only", loading.library().path], capture_output=True, text=True, check=True
    )
    names = [line.split()[-1] for line in done.stdout.splitlines()]
    assert "fastnorm_normalize" in names
    assert [name for name in names if not name.startswith("fastnorm_")] == []


def test_the_compile_command_needs_the_standard_library_alone():
    """The build hook loads this file where neither torch nor numpy is installed."""
    done = subprocess.run([sys.executable, "-I", "-S", building.__file__], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- where there is no library


@pytest.mark.usefixtures("fresh")
def test_without_a_compiler_torch_computes_and_reports_say_what_helps(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert loading.library() is None  # a warning would be an error here
    assert loading.status() == ("no C compiler found (cc or clang); install one, or a wheel that was built with one")
    assert native.what_would_help() == loading.status()
    assert_torch_computes()


@pytest.mark.parametrize(
    ("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "aarch64"), ("Linux", "i686")]
)
@pytest.mark.usefixtures("fresh")
def test_platforms_where_it_has_not_run_have_no_native_code(system, machine, monkeypatch):
    monkeypatch.setattr(building.platform, "system", lambda: system)
    monkeypatch.setattr(building.platform, "machine", lambda: machine)
    assert loading.library() is None
    assert loading.status() == f"native code exists for Linux on x86-64, not for {system} on {machine.lower()}"
    assert_torch_computes()


def test_a_compiler_that_fails_warns_once_and_torch_computes(fresh, monkeypatch):
    monkeypatch.setenv("CC", "false")
    found, status, warning = warned()
    assert found is None
    assert "false cannot compile the native code" in status
    assert warning == f"the CPU takes the slower torch path: {status}"
    assert list(fresh.glob("*/*")) == []
    assert_torch_computes()


@pytest.mark.usefixtures("fresh")
def test_a_cache_that_cannot_be_written_warns_and_says_how_to_name_another(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FASTNORM_CACHE_DIR", str(tmp_path / "file"))
    found, status, _ = warned()
    assert found is None
    assert "FASTNORM_CACHE_DIR can name another folder" in status
    assert_torch_computes()


@pytest.mark.usefixtures("fresh")
def test_a_file_that_is_no_library_warns(monkeypatch):
    monkeypatch.setattr(building, "build", lambda output: output.write_text("no library"))
    found, _, warning = warned()
    assert found is None
    assert "cannot be loaded" in warning
    assert_torch_computes()


@pytest.mark.parametrize(
    ("file", "text", "changed", "why"),
    [
        ("floating_point.h", "-0x1.fdfdfep-33f", "-0x1.fdfdfep-30f", r"self-test \(number 1\)"),
        (
            "normalize_portable.c",
            "pixels[FASTNORM_CHANNELS * i + c];",
            "pixels[i];",
            r"fails its self-test \(number 2\)",
        ),
        ("resize_portable.c", "value_of(sums[i])", "(uint8_t)sums[i]", r"fails its self-test \(number 3\)"),
        ("inverse_loops.h", "return t + mean;", "return fmaf(value, std, mean);", r"fails its self-test \(number 4\)"),
        ("library.c", "return FASTNORM_FINGERPRINT;", 'return "other";', "was compiled from other sources"),
        ("library.c", "return sizeof(fastnorm_output);", "return 8;", "has records of other sizes"),
    ],
)
@pytest.mark.usefixtures("fresh")
@pytest.mark.once
def test_a_library_that_is_wrong_warns_and_is_not_used(file, text, changed, why, monkeypatch, tmp_path):
    shutil.copytree(building.SOURCES, tmp_path / "src")
    monkeypatch.setattr(building, "SOURCES", tmp_path / "src")
    code = (tmp_path / "src" / file).read_text()
    assert code.count(text) == 1
    (tmp_path / "src" / file).write_text(code.replace(text, changed))
    small_build(monkeypatch)
    found, _, warning = warned()
    assert found is None
    assert re.search(why, warning)
    assert_torch_computes()


@pytest.mark.once
def test_a_library_of_other_sources_beside_the_package_gives_way_to_the_cache(fresh, monkeypatch, tmp_path):
    """An editable install whose C sources have changed since it was made."""
    small_build(monkeypatch)
    package = tmp_path / "package"
    package.mkdir()
    (package / building.LIBRARY_NAME).write_text("old")
    monkeypatch.setattr(loading, "__file__", str(package / "library.py"))
    assert loading.library().path.is_relative_to(fresh)


@pytest.mark.usefixtures("fresh")
def test_a_broken_library_beside_the_package_warns_where_nothing_can_take_its_place(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "/no/compiler")
    (tmp_path / building.LIBRARY_NAME).write_text("broken")
    monkeypatch.setattr(loading, "__file__", str(tmp_path / "loading.py"))
    found, _, warning = warned()
    assert found is None
    assert f"{tmp_path / building.LIBRARY_NAME} cannot be loaded" in warning
    assert_torch_computes()


# --- FASTNORM_CPU


@pytest.mark.parametrize("name", [*available_instructions(), "auto", "torch", ""])
def test_every_choice_computes_the_same(name, monkeypatch):
    batch = random_pixels(3, 40, 50, 3)
    by_torch = []
    normalize = torch_normalization.normalize
    monkeypatch.setattr(torch_normalization, "normalize", lambda *given: by_torch.append(1) or normalize(*given))
    with cpu_path(name):
        got = fastnorm.fused_dual_normalize(batch)
        used = native.engine()
    assert bool(by_torch) == (name == "torch") == (used is None)
    if name in native.INSTRUCTIONS:
        assert used.instructions == native.INSTRUCTIONS[name]
    for output, value in zip(got, fastnorm.reference.normalize(batch, [fastnorm.VAE, fastnorm.CLIP]), strict=True):
        assert_same_bits(output, value)


def test_an_unknown_choice_is_an_error_that_names_the_possible_ones():
    with (
        cpu_path("avx512"),
        pytest.raises(
            ValueError, match="FASTNORM_CPU: got 'avx512', expected one of auto, vnni, avx2, portable, torch"
        ),
    ):
        fastnorm.fused_dual_normalize(random_pixels(2, 9, 8, 3))


def test_instructions_that_the_processor_lacks_are_an_error():
    found = loading.library()
    old = loading.Library(found.path, found.functions, Instructions.AVX2)
    with pytest.MonkeyPatch.context() as patch, cpu_path("vnni"):
        patch.setattr(native, "library", lambda: old)
        with pytest.raises(ValueError, match="which this processor lacks; expected one of avx2, portable"):
            fastnorm.fused_dual_normalize(random_pixels(2, 9, 8, 3))


@pytest.mark.usefixtures("fresh")
def test_native_code_that_is_asked_for_and_missing_is_an_error(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with cpu_path("avx2"), pytest.raises(RuntimeError, match=r"there is no native code: no C compiler found"):
        fastnorm.fused_dual_normalize(random_pixels(2, 9, 8, 3))
