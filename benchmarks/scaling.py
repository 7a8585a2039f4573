"""The arithmetic of a large run, for SCALING.md and by hand: templates/scaling.md.j2 holds the formulas.

python -m benchmarks.scaling --images 1e9 --width 1536 --height 1024 --jpeg-bytes 400e3 --cores 64
python -m benchmarks.scaling --write     bring benchmarks/SCALING.md up to date; --check: exit 1 where it is old
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image

from benchmarks.comparisons import at, entries, only_decodes, peak_bandwidth, records
from benchmarks.generated import NOT_MEASURED, bring_up_to_date, render
from benchmarks.goals import CPU_PAIR_OUT, GPU_PAIR_OUT
from benchmarks.rows import RESULTS, load
from fastnorm.cli._ending import quietly
from fastnorm.data.files import shipped_photographs

PAGE = Path(__file__).parent / "SCALING.md"
COMMAND = "benchmarks.scaling"
START, END = f"<!-- worked example: python -m {COMMAND} --write -->", "<!-- end of worked example -->"
PUBLISHED = "before (Pillow backend)"  # the end-to-end row of the published code


class Input(NamedTuple):
    """What a reader can put in; the values are assumptions until rows or the reader replace them."""

    symbol: str
    what: str
    unit: str
    value: float
    source: str = "assumption"


_ONE_ROW = "assumption; one measurement that has no row"
INPUTS = {
    "images": Input("N", "images in the run", "", 1e9, "chosen"),
    "width": Input("W", "width of an image", "pixels", 1536, "chosen"),
    "height": Input("H", "height of an image", "pixels", 1024, "chosen"),
    "jpeg_bytes": Input("J", "one JPEG file", "bytes", 0),
    "decode_ms": Input("d", "decoding one image on one core", "ms", 13, _ONE_ROW),
    "resize_ms": Input("r", "resizing and normalising for both models on one core, as published", "ms", 25, _ONE_ROW),
    "cores": Input("C", "cores that feed one device", "", 64),
    "disk": Input("B_disk", "disk or network, read", "GB/s", 2),
    "bus": Input("B_bus", "host to device", "GB/s", 55),
    "memory": Input("B_mem", "device memory, read and written", "GB/s", 4300),
}


def _pixels(path: Path) -> int:
    with Image.open(path) as image:
        return image.width * image.height


def inputs(table: pd.DataFrame, own: Mapping[str, float]) -> dict[str, Input]:
    """A reader's own values, else what the rows hold, else the assumptions."""
    found = dict(INPUTS)

    def put(name: str, value: float, source: str) -> None:
        found[name] = found[name]._replace(value=value, source=source)

    for name, value in own.items():
        put(name, value, "yours")
    paths = shipped_photographs()
    each = sum(path.stat().st_size for path in paths) / sum(map(_pixels, paths))
    source = f"{each:.3f} bytes a pixel, as the {len(paths)} photographs in fastnorm/photos"
    put("jpeg_bytes", each * found["width"].value * found["height"].value, source)
    one_worker = table[(table["suite"] == "end to end") & table["cell"].str.contains(" 1 workers", regex=False)]
    for (device, cell), lines in list(one_worker.dropna(subset=["images_per_s"]).groupby(["device", "cell"]))[:1]:
        took = {line["name"]: 1e3 / line["images_per_s"] for line in records(lines)}
        for decode in [took[name] for name in took if only_decodes("end to end", name)]:
            put("decode_ms", decode, f"row: decoding alone, {cell}, {device}")
            if took.get(PUBLISHED, 0) > decode:
                put("resize_ms", took[PUBLISHED] - decode, f"rows: {PUBLISHED} less decoding alone, {cell}, {device}")
    for device in table[table["gpu"]]["device"].unique():
        if peak_bandwidth(table, device):
            put("memory", peak_bandwidth(table, device), f"row: torch copy_, {device}")
    for name in own:
        put(name, own[name], "yours")
    return found


def content(folder: Path = RESULTS, own: Mapping[str, float] | None = None) -> str:
    """The worked example of SCALING.md, or the same for a reader's own numbers."""
    table = entries(load(folder))
    given = inputs(table, own or {})
    whole = table[table["suite"] == "end to end"]
    ran = set(whole[whole["runs"] > 0]["gpu"])
    absent = [device for device, gpu in (("CPU", False), ("GPU", True)) if gpu not in ran]
    # All of the end-to-end lines, and ours of what is only a part of it.
    parts = pd.concat([table[table["suite"] == "preprocess"], at(table, CPU_PAIR_OUT), at(table, GPU_PAIR_OUT)])
    lines = pd.concat([parts[parts["ours"]].drop_duplicates(["device", "cell"]), whole]).sort_index()
    page = {"inputs": given.values(), "lines": records(lines.dropna(subset=["images_per_s"])), "absent": absent}
    values = {one.symbol: one.value for one in given.values()}
    return render("scaling.md.j2", **values, **page, not_measured=NOT_MEASURED)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the worked example into SCALING.md")
    parser.add_argument("--check", action="store_true", help="exit 1 where SCALING.md and the rows differ")
    for name, one in INPUTS.items():
        what = ", ".join(filter(None, [one.what, one.unit]))
        parser.add_argument(f"--{name.replace('_', '-')}", type=_positive, metavar=one.symbol, help=what)
    options = parser.parse_args(argv)
    if options.write or options.check:
        return bring_up_to_date(PAGE, START, END, content(), options.write, COMMAND)
    print(content(own={name: getattr(options, name) for name in INPUTS if getattr(options, name)}))
    return 0


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if 0 < value < float("inf"):
        return value
    raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0, such as 1e9")


if __name__ == "__main__":
    sys.exit(quietly(COMMAND, main))
