"""`python -m tests.conformance --write`: compares every published configuration and writes docs/conformance.md."""

import argparse
import importlib
import importlib.metadata
import sys
import warnings
from collections import Counter
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from conformance.row import Row

PARTS = ("transformers", "timm", "open_clip", "torchvision", "diffusers")
PACKAGES = ("torch", "torchvision", "transformers", "timm", "open_clip_torch", "diffusers", "pillow")
PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
INTRODUCTION = """# Conformance

`Target.from_config` of every published configuration below, beside the package that it is of: the same images
through both. "identical" is every value of every image, bit for bit; the rest is refused, for the reason that stands
there. There is no third state: where the bits differ, this page cannot be written.

The images are the package's photographs, noise of odd sizes, a single pixel, and transparent and gray images where
the processor takes them. Classes that are built with other settings than their default ones name them. `python -m
tests.conformance --write` writes this page; the tests compare a tenth of it, and all of it with `--all-configs`.

Written with {versions}.
"""


def rows(part, sample=False):
    try:
        module = importlib.import_module(f"conformance.{part}_rows")
    except ModuleNotFoundError as error:
        if error.name != f"conformance.{part}_rows":
            raise
        return []
    return list(module.rows(sample))


def versions():
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)


def section(library, found):
    module = importlib.import_module(f"conformance.{library}_rows")
    table = pd.DataFrame(found, columns=Row._fields)[["name", "backend", "result"]]
    states = Counter(row.result.partition(":")[0] for row in found)
    counts = f"{states['identical']} identical, {states['refused']} refused."
    if hasattr(module, "summary"):
        counts += f" {module.summary(found)}"
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table.itertuples(index=False)
    ]
    return "\n".join([f"\n## {library}\n", counts, "", "| what | backend | result |", "|---|---|---|", *lines, ""])


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}; else only count")
    parser.add_argument("libraries", nargs="*", help=f"of {', '.join(PARTS)} (all)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = [row for part in arguments.libraries or PARTS for row in rows(part)]
    page = INTRODUCTION.format(versions=versions())
    for library in dict.fromkeys(row.library for row in found):
        page += section(library, [row for row in found if row.library == library])
    if arguments.write:
        PAGE.write_text(page, encoding="utf-8")
    for (library, state), count in Counter((row.library, row.result.partition(":")[0]) for row in found).items():
        print(f"{library:12} {state:9} {count:4}")


if __name__ == "__main__":
    main()
