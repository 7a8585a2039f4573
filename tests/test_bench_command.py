"""`fastnorm bench` as a user meets it; the suite itself is replaced by small programs that do what it would do."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

import fastnorm
from fastnorm.cli import bench, main

ROOT = pathlib.Path(__file__).parent.parent

REPORT = """
import sys
print("drawn", *sys.argv[1:])
"""

SUITE = """
def test_one():
    print("one")

def test_two():
    assert VALUES_DIFFER == 0, "not verified, not timed"
"""

SCRIPT = """
import pathlib, sys
pathlib.Path(sys.argv[sys.argv.index("--rows") + 1]).write_text("rows")
assert "--quick" in sys.argv
sys.exit("out of luck" if FAIL else 0)
"""

CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--rows")
    parser.addoption("--quick", action="store_true")
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout whose suite takes no time; the function sets what goes wrong in it."""
    folder = tmp_path / "checkout"
    (folder / "benchmarks").mkdir(parents=True)
    (folder / "kernels").mkdir()
    (folder / "benchmarks" / "report.py").write_text(REPORT)
    (folder / "benchmarks" / "conftest.py").write_text(CONFTEST)
    plugin = (ROOT / "benchmarks" / "progress.py").read_text()
    (folder / "benchmarks" / "progress.py").write_text(plugin)

    def make(differing=0, host_fails=False, suite=SUITE):
        (folder / "benchmarks" / "test_suite.py").write_text(f"VALUES_DIFFER = {differing}\n{suite}")
        (folder / "benchmarks" / "host_path.py").write_text(f"FAIL = {host_fails}\n{SCRIPT}")
        (folder / "benchmarks" / "end_to_end.py").write_text(f"FAIL = False\n{SCRIPT}")

    make()
    monkeypatch.setattr(bench, "find_checkout", lambda: folder)
    monkeypatch.setattr(bench, "check_packages", lambda _also: None)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return make


@pytest.fixture
def quick(tmp_path):
    return ["bench", "--quick", "--output", str(tmp_path / "out")]


@pytest.mark.usefixtures("checkout")
def test_everything_runs_and_is_drawn(quick, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(quick) == 0
    captured = capfd.readouterr()
    out = tmp_path / "out"
    assert f"drawn {out}" in captured.out
    assert {path.name for path in out.iterdir()} >= {"pytest.log", "host.csv", "host.log", "end_to_end.csv"}
    assert "4/4" in captured.err  # two tests and two scripts


@pytest.mark.usefixtures("checkout")
def test_rows_only_draws_nothing(quick, capfd):
    assert main([*quick, "--rows-only"]) == 0
    assert "drawn" not in capfd.readouterr().out


def test_a_failing_verification_is_shown_and_is_the_exit_status(checkout, quick, capfd):
    checkout(differing=3)
    assert main(quick) == 1
    captured = capfd.readouterr()
    assert "not verified, not timed" in captured.err
    assert "failed: benchmarks/test_suite.py::test_two" in captured.err
    assert "--problem=benchmarks/test_suite.py::test_two" in captured.out


def test_a_failing_script_does_not_stop_the_others(checkout, quick, tmp_path, capfd):
    checkout(host_fails=True)
    assert main(quick) == 1
    assert (tmp_path / "out" / "end_to_end.csv").exists()
    assert "benchmarks/host_path.py ended with status 1" in (err := capfd.readouterr().err)
    assert "out of luck" in err


@pytest.mark.parametrize("suite", ["", "import no_such_module"], ids=["without tests", "broken"])
def test_a_suite_that_cannot_run_is_an_error(checkout, quick, suite, capfd):
    checkout(suite=suite)
    assert main(quick) == 2
    assert "pytest benchmarks ended with status" in capfd.readouterr().err


@pytest.mark.usefixtures("checkout")
def test_ctrl_c_ends_the_suite_and_says_where_the_rows_are(quick, tmp_path, monkeypatch, capfd):
    started = []

    def interrupted(_self, process, _advance):
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.Events, "follow", interrupted)
    assert main(quick) == 130
    assert started[0].poll() is not None
    assert f"interrupted; the rows so far are in {tmp_path / 'out'}" in capfd.readouterr().err


def test_events_are_read_whole_and_once(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    events = bench.Events(tmp_path / "events")
    assert events.total(ended) is None
    events.path.write_text("total 2\ndone\nfailed a::b\ndo")
    assert events.total(ended) == 2
    steps = []
    assert events.follow(ended, steps.append) == 0
    assert (steps, events.failed) == ([1], ["a::b"])


def test_the_checkout_is_found_where_the_package_lies():
    assert bench.find_checkout() == pathlib.Path(fastnorm.__file__).resolve().parent.parent


def test_without_a_checkout_the_error_names_the_mend(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fastnorm, "__file__", str(tmp_path / "site-packages" / "fastnorm" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    assert main(["bench"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("fastnorm bench: error: no benchmarks folder")
    assert "git clone" in err
    assert 'pip install -e ".[bench]"' in err


def test_the_current_folder_serves_an_installed_package(tmp_path, monkeypatch):
    monkeypatch.setattr(fastnorm, "__file__", str(tmp_path / "site-packages" / "fastnorm" / "__init__.py"))
    monkeypatch.chdir(ROOT)
    assert bench.find_checkout() == ROOT


def test_missing_packages_are_named_with_the_mend(monkeypatch, capsys, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("pytest_benchmark", "matplotlib") else real(name)
    )
    assert main(["bench", "--output", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "pytest-benchmark and matplotlib not installed" in err
    assert 'pip install -e ".[bench]"' in err


@pytest.mark.usefixtures("checkout")
def test_an_output_that_is_a_file_is_a_wrong_call(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert main(["bench", "--output", str(tmp_path / "taken")]) == 2
    assert "wanted a folder for rows, charts and report" in capsys.readouterr().err


def test_help_names_the_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "fastnorm bench --quick" in capsys.readouterr().out
