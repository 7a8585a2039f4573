"""Text from templates: whole pages, and parts of Markdown files between two marker comments."""

import re
from collections.abc import Sequence
from pathlib import Path

import jinja2

from benchmarks import formats

NOT_MEASURED = "not yet measured"


def render(template: str, **values: object) -> str:
    """A file of benchmarks/templates, filled in; HTML is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("significant", "times", "milliseconds", "span", "count", "size"):
        environment.filters[name] = getattr(formats, name)
    return environment.get_template(template).render(**values).rstrip("\n")


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def replaced(text: str, start: str, end: str, content: str) -> str:
    """`text` with `content` between its two marker lines."""
    pattern = re.compile(f"({re.escape(start)}\n).*?({re.escape(end)})", re.DOTALL)
    updated, count = pattern.subn(lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text)
    if count != 1:
        raise ValueError(f"got {count} x {start!r} ... {end!r}, expected 1; add both lines where the part belongs")
    return updated


def bring_up_to_date(path: Path, start: str, end: str, content: str, write: bool, command: str) -> int:
    """Write the part, or return 1 where it is out of date."""
    text = path.read_text(encoding="utf-8")
    current = replaced(text, start, end, content) == text
    if write and not current:
        path.write_text(replaced(text, start, end, content), encoding="utf-8")
    elif not current:
        print(f"{path.name} and benchmarks/results differ; bring it up to date: python -m {command} --write")
    return int(not current and not write)
