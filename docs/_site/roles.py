"""Show the roles of docstrings (`:class:`, ``code``) as what they mean, in Markdown."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")


class Roles(griffe.Extension):
    """Rewrites every docstring as it is collected."""

    def on_object(self, *, obj: griffe.Object, **_kwargs: Any) -> None:
        """Called for each object of a package."""
        if obj.docstring:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = re.sub(r"``(.+?)``", r"`\1`", text)
