"""`fastnorm bench` and `python -m benchmarks` as a user meets them, with one small test file in place of the cells."""

import importlib.util
import os
import pathlib

import pytest

import fastnorm
import forking
from benchmarks.__main__ import main as benchmarks
from benchmarks.rows import read
from fastnorm.cli import bench, main

ROOT = pathlib.Path(__file__).parent.parent

CONFTEST = (ROOT / "benchmarks" / "conftest.py").read_text()
CELLS = """
import types
import pytest
from benchmarks.timing import Candidate
from benchmarks.rows import Cell

NAMES = ("quick one", "long one")
CELLS = [types.SimpleNamespace(name=name, quick=name == NAMES[0], device="cpu") for name in NAMES]

@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_cell(suite, cell):
    assert VALUES_DIFFER == 0, "not verified, not timed"
    columns = Cell("normalize", cell.name, "1x2x2x3", dtypes="fp32", memory="out", layout="NHWC")
    ours, theirs = Candidate("fastnorm", "1", None, mismatches=0), Candidate("kornia", "2", None, mismatches=5)
    ours.sample, theirs.sample = lambda: (1.0, 2.0), lambda: (3.0, 4.0)
    suite.compare(columns, [ours, theirs], 3)
"""


@pytest.fixture
def run(tmp_path):
    """Runs the suite's command on these cells; what it leaves is in `out`."""

    def command(*options, differing=0, cells=CELLS, start=forking.run):
        folder = tmp_path / "cells"
        folder.mkdir(exist_ok=True)
        (folder / "conftest.py").write_text(CONFTEST)
        (folder / "test_suite.py").write_text(f"VALUES_DIFFER = {differing}\n{cells}")
        arguments = [f"--cells={folder}", f"--output={tmp_path / 'out'}", *options]
        # Plugins that happen to be installed are no part of the suite.
        return start(
            "-m", "benchmarks", *arguments, cwd=ROOT, env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        )

    return command


def test_rows_are_measured_and_drawn(run, tmp_path):
    done = run("--quick", start=forking.new_python)
    assert done.returncode == 0, done.stderr
    assert f"report: {tmp_path / 'out' / 'report.html'}" in done.stdout
    assert "\x1b" not in done.stderr, "no bar where there is no terminal"
    rows = read(tmp_path / "out" / "cpu.csv")
    assert list(rows["cell"]) == ["quick one"] * 2
    assert list(rows["p50_ms"]) == [1000.0, 3000.0]
    assert list(rows["cpu_ms"]) == [2000.0, 4000.0]
    assert "3.00x" in (tmp_path / "out" / "report.html").read_text()


def test_words_choose_cells_and_rows_only_draws_nothing(run, tmp_path):
    assert run("--rows-only", "--only", "long and one").returncode == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cpu.csv", "pytest.log"}
    assert set(read(tmp_path / "out" / "cpu.csv")["cell"]) == {"long one"}


def test_a_failing_verification_is_shown_and_is_the_exit_status(run):
    done = run(differing=3)  # of both cells: without --quick and words, none is left out
    assert done.returncode == 1
    assert "not verified, not timed" in done.stderr
    assert "2 failed" in done.stderr


@pytest.mark.parametrize("cells", ["", "import no_such_module"], ids=["without tests", "broken"])
def test_a_suite_that_cannot_run_is_an_error(run, cells):
    done = run(cells=cells)
    assert done.returncode == 2
    assert "no_such_module" in done.stderr or "no tests" in done.stderr


def test_ctrl_c_says_how_to_draw_the_rows_so_far(run, tmp_path):
    done = run(
        cells=CELLS.replace("lambda: (3.0, 4.0)", "interrupted") + "\ndef interrupted():\n    raise KeyboardInterrupt\n"
    )
    assert done.returncode == 130
    assert f"python -m benchmarks.report {tmp_path / 'out'}" in done.stderr


def test_the_command_passes_its_options_and_the_status_on(tmp_path, monkeypatch, capfd):
    """The suite that it starts is this checkout's."""
    monkeypatch.setattr(bench, "find_checkout", lambda: tmp_path)
    (tmp_path / "benchmarks").mkdir()
    program = "import os, sys; print(sys.argv[1:], os.environ['PYTHONPATH']); sys.exit(7)"
    (tmp_path / "benchmarks" / "__main__.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert main(["bench", "--quick", "--output", str(tmp_path / "out")]) == 7
    paths = f"{tmp_path}:{tmp_path / 'kernels'}:/elsewhere"
    assert f"['--output', '{tmp_path / 'out'}', '--quick'] {paths}\n" in capfd.readouterr().out


def test_the_suite_takes_what_the_command_passes(capsys):
    with pytest.raises(SystemExit):
        benchmarks(["--help"])
    out = capsys.readouterr().out
    assert all(option in out for option in ("--quick", "--output", "--rows-only"))


def test_the_checkout_is_found_where_the_package_lies():
    assert bench.find_checkout() == pathlib.Path(fastnorm.__file__).resolve().parent.parent


def test_without_a_checkout_the_error_says_how_to_get_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fastnorm, "__file__", str(tmp_path / "site-packages" / "fastnorm" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    assert main(["bench"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("fastnorm bench: error: got no benchmarks folder")
    assert "git clone" in err
    assert 'pip install -e ".[bench]"' in err


def test_the_current_folder_serves_an_installed_package(tmp_path, monkeypatch):
    monkeypatch.setattr(fastnorm, "__file__", str(tmp_path / "site-packages" / "fastnorm" / "__init__.py"))
    monkeypatch.chdir(ROOT)
    assert bench.find_checkout() == ROOT


def test_missing_packages_are_named_with_the_fix(monkeypatch, capsys, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("pandas", "jinja2") else real(name))
    assert main(["bench", "--output", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "pandas and jinja2 not installed" in err
    assert 'pip install -e ".[bench]"' in err


def test_an_output_that_is_a_file_is_a_wrong_call(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert main(["bench", "--output", str(tmp_path / "taken")]) == 2
    assert "expected a folder for rows and report" in capsys.readouterr().err


def test_help_names_the_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "fastnorm bench --quick" in capsys.readouterr().out


INTERRUPTED = """
import os, signal, time
try:
    time.sleep(0.5)
    os.killpg(0, signal.SIGINT)  # as a terminal does
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    print("said what is left", flush=True)
    raise SystemExit(130)
"""


def test_ctrl_c_leaves_the_suite_time_to_end_by_itself(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__main__.py").write_text(INTERRUPTED)
    program = (
        "import os, pathlib, signal, sys\n"
        "os.setsid()  # Ctrl-C is for this process and the suite\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background\n"
        "from fastnorm.cli import bench, main\n"
        f"bench.find_checkout = lambda: pathlib.Path({str(tmp_path)!r})\n"
        f"sys.exit(main(['bench', '--output', {str(tmp_path / 'out')!r}]))"
    )
    done = forking.run("-c", program)
    assert (done.stdout.splitlines()[1:], done.stderr, done.returncode) == (["said what is left"], "", 130)
