"""The sources head an example "Example:"; griffe sets doctests as code under "Examples:" alone."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames the heading while a docstring is read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:  # noqa: ANN401
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
