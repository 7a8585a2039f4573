"""`fastnorm encode`, killed again and again: the rows have to be those of a run that nothing interrupts.

    python tests/kill_encode.py --images 100000 --kills 10

Images are synthetic JPEGs, of which one in a hundred is cut off, damaged, empty or of another type. SIGKILL hits the
job, or one of its workers, at random moments.
"""

import argparse
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fastnorm import cli

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "fastnorm", "encode"]
BAD = ("cut off", "damaged", "empty", "another type")


def make_images(folder, count, one_bad_in):
    """JPEGs, each with other pixels; returns how many of them are bad."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    bad = 0
    for index in range(count):
        file = io.BytesIO()
        height, width = 24 + index % 17, 24 + index % 13
        Image.fromarray(noise.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(file, "JPEG")
        data = file.getvalue()
        if index % one_bad_in == one_bad_in // 2:
            how = BAD[bad % len(BAD)]
            bad += 1
            data = {
                "cut off": data[: len(data) // 2],
                "damaged": data[:2] + bytes(len(data) - 2),
                "empty": b"",
                "another type": b"%PDF-1.7 " + index.to_bytes(4, "big"),
            }[how]
        (folder / f"{index:07}.jpg").write_bytes(data)
    return bad


def rows_of(output):
    """Every row by its id, and the reasons by key."""
    import json

    import pyarrow.parquet as pq

    rows = {}
    for shard in sorted((output / "shards").glob("*.parquet")):
        for row in pq.read_table(shard).to_pylist():
            assert row["id"] not in rows, f"twice: {row['id']}"
            rows[row["id"]] = row
    bad = [json.loads(line) for line in (output / "quarantine.jsonl").read_text().splitlines()]
    return rows, sorted((one["key"], one["sha256"], one["error"]) for one in bad)


class Job:
    """The command in a process of its own."""

    def __init__(self, source, output, options):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parent / "kernels")]),
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "CUDA_VISIBLE_DEVICES": "",
        }
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [*COMMAND, str(source), str(output), *options], env=environment, stdout=self.log, stderr=self.log
        )

    def runs(self):
        return self.process.poll() is None

    def wait(self):
        code = self.process.wait()
        with self.log:
            self.log.seek(0)
            return code, self.log.read()

    def workers(self, name=b"ray::"):
        """Process ids of Ray's workers that are below this job, which show the task they run as their name.

        Not Ray's own agents: without them a node ends, and the next one waits for minutes before it starts.
        """
        parents, names = {}, {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                names[int(folder.name)] = (folder / "cmdline").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            parents[int(folder.name)] = int(fields[1])
        shown = {pid: text for pid, text in names.items() if text.startswith(name) and b"Agent" not in text}
        return [pid for pid in shown if self._is_mine(pid, parents)]

    def _is_mine(self, pid, parents):
        while pid in parents:
            if pid == self.process.pid:
                return True
            pid = parents[pid]
        return False


def shards_in(output):
    return len(list((output / "shards").glob("*.parquet")))


def kill_again_and_again(source, output, options, kills, of_job, longest, shards, seed, run, only_midway):
    """Hit the job `of_job` times and its workers for the rest; where a job ends before, begin a new output.

    `longest` and `shards` are the seconds and shards of a run that is not killed; `run` ends the work when nothing is
    left to hit; `only_midway`: never while everything starts, and no worker but the encoder's. Returns what was hit,
    and how many shards there were then.
    """
    workers = b"ray::MapWorker" if only_midway else b"ray::"
    chance = random.Random(seed)
    hits = ["job"] * of_job + ["worker"] * (kills - of_job)
    chance.shuffle(hits)
    job = Job(source, output, options)
    done = []
    while hits:
        if only_midway or chance.random() < 0.6:  # in the middle of the work, not while everything starts
            wanted = shards_in(output) + chance.randint(1, max(1, shards // kills))
            while job.runs() and shards_in(output) < wanted:
                time.sleep(0.02)
            end = time.monotonic() + chance.uniform(0, 1)
        else:
            end = time.monotonic() + chance.uniform(0, longest / 2)
        while job.runs() and (time.monotonic() < end or (hits[-1] == "worker" and not job.workers(workers))):
            time.sleep(0.05)
        if job.runs():
            target = hits.pop()
            pid = job.process.pid if target == "job" else chance.choice(job.workers(workers) or [job.process.pid])
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it has ended meanwhile
                hits.append(target)
                continue
            done.append((target, shards_in(output)))
            if target == "worker":
                continue
        code, log = job.wait()
        assert code in (0, 1, -signal.SIGKILL), log
        if code == 0 and hits:
            shutil.rmtree(output)
        job = Job(source, output, options) if hits else None
    code, log = job.wait() if job else run(source, output, options)
    for _ in range(3):  # too many workers were killed for one run, or Ray gave up on a machine that is too busy for it
        if code != 0:
            code, log = run(source, output, options)
    assert code == 0, log
    return done


class Compared(NamedTuple):
    done: list  # what was hit, and how many shards there were then
    rows: int
    bad: int
    whole: float  # seconds of the run that nothing interrupted
    killed: float  # seconds of the other, with every restart

    def __str__(self):
        hits = ", ".join(f"{what} at {shards} shards" for what, shards in self.done)
        return (
            f"{self.rows:,} rows and {self.bad:,} bad items as without the {len(self.done)} kills ({hits}); "
            f"{self.whole:.0f} s without, {self.killed:.0f} s with them"
        )


def run_job(source, output, options):
    return Job(source, output, options).wait()


def compare(work, images, one_bad_in, kills, of_job, seed, options, run=run_job, only_midway=False):
    """Run the command once in peace and once under kills; an AssertionError where the rows or reasons differ."""
    source = work / "images"
    bad = make_images(source, images, one_bad_in)
    start = time.monotonic()
    code, log = run(source, work / "whole", options)
    assert code == 0, log
    whole = time.monotonic() - start
    shards = shards_in(work / "whole")
    done = kill_again_and_again(source, work / "killed", options, kills, of_job, whole, shards, seed, run, only_midway)
    killed = time.monotonic() - start - whole
    rows, reasons = rows_of(work / "whole")
    found, found_reasons = rows_of(work / "killed")
    assert len(rows) == images - bad, (len(rows), images, bad)
    assert found.keys() == rows.keys()
    differing = [key for key, row in rows.items() if found[key] != row]
    assert not differing, f"{len(differing)} rows have other values, such as {differing[0]}"
    assert found_reasons == reasons
    # Files with the same bytes, such as empty ones, are one item.
    assert len({reason[1] for reason in reasons}) == len(reasons)
    assert cli.main(["encode", str(work / "killed"), "--verify"]) == 0
    return Compared(done, len(rows), len(reasons), whole, killed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--of-job", type=int, default=5, help="how many of them hit the job itself")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--shard-rows", type=int, default=1024)
    args = parser.parse_args()
    seed = random.randrange(1 << 30) if args.seed is None else args.seed
    print(f"seed {seed}")
    options = ["--target", "means=clip-224:encoders_for_tests:means", "--shard-rows", str(args.shard_rows)]
    with tempfile.TemporaryDirectory() as work:
        print(compare(Path(work), args.images, 100, args.kills, args.of_job, seed, options))


if __name__ == "__main__":
    main()
