"""Generated parts of README.md and SCALING.md, from the rows in benchmarks/results and benchmarks/templates.

python -m benchmarks.generated                     exit status 1 where a text and the rows say different things
python -m benchmarks.generated --write             bring both up to date
python -m benchmarks.generated N=1e9 W=1536 C=64   print SCALING.md's tables for your numbers, by its symbols
"""

import argparse
import contextlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from PIL import Image

from benchmarks import formats
from benchmarks.comparisons import NO_DRIVER, at, entries, peak_bandwidth, records
from benchmarks.goals import CPU_PAIR_FRESH, CPU_PAIR_OUT, GPU_PAIR_FRESH, GPU_PAIR_OUT, ONE_CALL
from benchmarks.rows import RESULTS, ROOT, load
from fastnorm.cli._ending import quietly
from fastnorm.cli._text import plural
from fastnorm.data.files import shipped_photographs

COMMAND = "python -m benchmarks.generated --write"
TEMPLATES = Path(__file__).parent / "templates"
PAGE = ROOT / "benchmarks" / "SCALING.md"
NOT_MEASURED = "not yet measured"
PUBLISHED = "before (Pillow backend)"  # the end-to-end row of the published code
PIPELINES = (PUBLISHED, "before (torchvision backend)", "fastnorm, in workers", "fastnorm, in main", "decode alone")


def render(template: str, **values: object) -> str:
    """A file of benchmarks/templates, filled in; HTML is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["plural"] = plural
    environment.filters |= {name: value for name, value in vars(formats).items() if callable(value)}
    return environment.get_template(template).render(**values).rstrip("\n")


def bring_up_to_date(path: Path, what: str, content: str, write: bool) -> int:
    """Write `content` between the two marker lines of `what`, or return 1 where it is out of date."""
    text, start, end = path.read_text(encoding="utf-8"), f"<!-- {what}: {COMMAND} -->", f"<!-- end of {what} -->"
    pattern = re.compile(f"({re.escape(start)}\n).*?({re.escape(end)})", re.DOTALL)
    updated, count = pattern.subn(lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text)
    if count != 1:
        raise ValueError(f"{path}: got {count} x {start!r} ... {end!r}, expected 1; add both lines")
    if write:
        path.write_text(updated, encoding="utf-8")
    elif updated != text:
        print(f"{path.name} and benchmarks/results differ; bring it up to date: {COMMAND}")
        return 1
    return 0


# The README's table

_PREPROCESS, _TWO_WORKERS = "suite == 'preprocess'", "suite == 'end to end' and cell.str.contains(' 2 workers')"
_THREADS = f"{_PREPROCESS} and cell.str.contains('all threads')"
_OWN_CALL, _COMPILED_CALL = f"{ONE_CALL} and ours", f"{ONE_CALL} and name.str.startswith('torch.compile')"
_SHOWN = {
    "ratio": formats.times, "copy_fraction": formats.percent, "p50_ms": formats.milliseconds,
    "images_per_s": formats.significant,
}  # fmt: skip
# What a line is about, which rows answer it on a CPU and on a GPU (None: they cannot), and their figure.
LINES = [
    ("16x512x512 (GPU: 64), fp32 pair, `out=`", CPU_PAIR_OUT, GPU_PAIR_OUT, "ratio"),
    ("the same, new outputs", CPU_PAIR_FRESH, GPU_PAIR_FRESH, "ratio"),
    ("share of copy bandwidth, 64x512x512, fp32 pair, `out=`", None, f"{GPU_PAIR_OUT} and ours", "copy_fraction"),
    ("resize + normalise, VAE 512 + CLIP 224", _THREADS, _PREPROCESS, "ratio"),
    (f"host time of one call, new outputs (CPU: {NO_DRIVER})", _OWN_CALL, _OWN_CALL, "p50_ms"),
    ("host time of torch.compile over ours", None, _COMPILED_CALL, "ratio"),
]
for pipeline in PIPELINES:
    where = f"{_TWO_WORKERS} and name == '{pipeline}'"
    LINES.append((f"samples/s from JPEG files, 2 workers: {pipeline}", where, where, "images_per_s"))


def _answer(table: pd.DataFrame, where: str, figure: str) -> dict[str, Any] | None:
    """The line of the first cell that has this figure; of ratios, that of the fastest peer."""
    lines = at(table, where).dropna(subset=[figure])
    if figure == "ratio":
        lines = lines[~lines["ours"]].sort_values("ratio")
        lines = lines[lines["cell"] == lines.sort_index()["cell"].head(1).squeeze()]
    return next(iter(records(lines)), None)


def _line(table: pd.DataFrame, what: str, on_cpu: str | None, on_gpu: str, figure: str) -> list[str]:
    """One line's cells; its head names the peers of ratios."""
    lines = [
        _answer(table[table["gpu"] == gpu], where, figure) if where else None
        for gpu, where in ((False, on_cpu), (True, on_gpu))
    ]
    peers = list(dict.fromkeys(line["name"] for line in lines if line)) if figure == "ratio" else []
    head = ", ".join([what, *(f"against {name}" for name in peers[:1])]) + "".join(f" (GPU: {n})" for n in peers[1:])
    cells = [_SHOWN[figure](line[figure]) if line else NOT_MEASURED for line in lines]
    return [head, cells[0] if on_cpu else "-", cells[1]]


def readme_table(folder: Path = RESULTS) -> str:
    """The README's table, one figure a cell, and one line on where its figures come from."""
    rows = load(folder)
    table = entries(rows)
    for wrong in records(table[table["ours"] & (table["mismatches"].fillna(0) > 0)]):
        raise ValueError(
            f"{wrong['cell']}: got {wrong['mismatches']} values of ours that differ from the contract, expected 0; "
            f"fix it and measure again"
        )
    lines = [_line(table, *line) for line in LINES]
    sources = rows.groupby(["device", "driver"], sort=False).agg({"threads": "unique", "torch": "unique"}).reset_index()
    runs = table[table["ours"]].groupby("device")["runs"].max()
    return render("readme.md.j2", lines=lines, sources=records(sources), runs=runs)


# The scaling page: templates/scaling.md.j2 holds the formulas


# What a reader can put in; the values are assumptions until rows or the reader replace them.
INPUTS = pd.read_csv(TEMPLATES / "assumptions.csv", index_col="symbol", keep_default_na=False)


def inputs(table: pd.DataFrame, own: Mapping[str, float]) -> pd.DataFrame:
    """A reader's own values, else what the rows hold, else the assumptions."""
    given = INPUTS.copy()

    def put(symbol: str, value: float, source: str) -> None:
        given.loc[symbol, ["value", "source"]] = value, source

    photographs = shipped_photographs()
    each = sum(path.stat().st_size for path in photographs) / sum(map(_pixels, photographs))
    pixels = own.get("W", given["value"]["W"]) * own.get("H", given["value"]["H"])
    put("J", each * pixels, f"{each:.3f} bytes a pixel, as the {len(photographs)} photographs in fastnorm/photos")
    one_worker = at(table, "suite == 'end to end' and cell.str.contains(' 1 workers')").dropna(subset=["images_per_s"])
    for (device, cell), lines in list(one_worker.groupby(["device", "cell"]))[:1]:
        took = 1e3 / lines.set_index("name")["images_per_s"]
        for decode in took[lines["decodes"].to_numpy()]:
            put("d", decode, f"row: decoding alone, {cell}, {device}")
            if took.get(PUBLISHED, 0) > decode:
                put("r", took[PUBLISHED] - decode, f"rows: {PUBLISHED} less decoding alone, {cell}, {device}")
    for device in table[table["gpu"]]["device"].unique():
        if peak := peak_bandwidth(table, device):
            put("B_mem", peak, f"row: torch copy_, {device}")
    for symbol, value in own.items():
        put(symbol, value, "yours")
    return given


def _pixels(path: Path) -> int:
    with Image.open(path) as image:
        return image.width * image.height


def scaling(folder: Path = RESULTS, own: Mapping[str, float] | None = None) -> str:
    """The worked example of SCALING.md, or the same for a reader's own numbers."""
    table = entries(load(folder))
    given = inputs(table, own or {})
    whole = table[table["suite"] == "end to end"]
    ran = set(whole[whole["runs"] > 0]["gpu"])
    absent = [device for device, gpu in (("CPU", False), ("GPU", True)) if gpu not in ran]
    # All of the end-to-end lines, and ours of what is only a part of it.
    parts = pd.concat([table[table["suite"] == "preprocess"], at(table, CPU_PAIR_OUT), at(table, GPU_PAIR_OUT)])
    lines = pd.concat([parts[parts["ours"]].drop_duplicates(["device", "cell"]), whole]).sort_index()
    return render(
        "scaling.md.j2", **given["value"], inputs=given.to_dict("index"), absent=absent, not_measured=NOT_MEASURED,
        lines=records(lines.dropna(subset=["images_per_s"])),
    )  # fmt: skip


def _number(text: str) -> tuple[str, float]:
    symbol, _, value = text.partition("=")
    with contextlib.suppress(ValueError):
        if symbol in INPUTS.index and 0 < float(value) < float("inf"):
            return symbol, float(value)
    raise argparse.ArgumentTypeError(
        f"got {text!r}, expected one of {', '.join(INPUTS.index)} and a number above 0: N=1e9"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the texts; without it, exit 1 where one is old")
    parser.add_argument("own", nargs="*", type=_number, metavar="SYMBOL=NUMBER", help="print the tables for this")
    options = parser.parse_args(argv)
    if options.own:
        print(scaling(own=dict(options.own)))
        return 0
    parts = ((ROOT / "README.md", "speed table", readme_table), (PAGE, "worked example", scaling))
    return max(bring_up_to_date(path, what, content(), options.write) for path, what, content in parts)


if __name__ == "__main__":
    sys.exit(quietly("benchmarks.generated", main))
