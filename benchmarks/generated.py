"""Text from templates: whole pages, and parts of Markdown files between two marker comments."""

import re
from pathlib import Path

import jinja2

from benchmarks import formats

NOT_MEASURED = "not yet measured"


def render(template: str, **values: object) -> str:
    """A file of benchmarks/templates, filled in; HTML is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {name: value for name, value in vars(formats).items() if callable(value)}
    return environment.get_template(template).render(**values).rstrip("\n")


def bring_up_to_date(path: Path, start: str, end: str, content: str, write: bool, command: str) -> int:
    """Write `content` between two marker lines, or return 1 where it is out of date."""
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(f"({re.escape(start)}\n).*?({re.escape(end)})", re.DOTALL)
    updated, count = pattern.subn(lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text)
    if count != 1:
        raise ValueError(f"{path}: got {count} x {start!r} ... {end!r}, expected 1; add both lines")
    if write:
        path.write_text(updated, encoding="utf-8")
    elif updated != text:
        print(f"{path.name} and benchmarks/results differ; bring it up to date: python -m {command} --write")
        return 1
    return 0
