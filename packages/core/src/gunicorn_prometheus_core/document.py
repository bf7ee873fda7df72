"""A YAML file of settings, read strictly: where each value stands, and no key that means nothing.

Values are taken as they are written, from the nodes of the file. So no
``0123`` becomes another number before a setting has seen it, every message
can name line and column, and nothing in the file can construct an object.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

import yaml

from .errors import SettingsError
from .settings import ROOT

_LARGEST = 1_000_000
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::-([^}]*))?\}|(\{))")


@dataclass(frozen=True)
class Value:
    """What stands at one place of the file; ``kind`` as in :class:`~.parsing.Kind`.

    The kind ``given`` is that of a text which came from a variable, as every
    variable's does: it can be meant as anything.
    """

    text: str
    kind: str
    place: str


@dataclass(frozen=True)
class Document:
    """A file that was read. ``_root`` is a map."""

    path: str
    _root: yaml.MappingNode

    def values(
        self, known: Collection[str], environ: Mapping[str, str], aside: Collection[str] = ()
    ) -> dict[str, Value]:
        """The values in it, by their dotted names, which have to be among the known ones.

        What is below a name in ``aside`` is for others to know. ``${NAME}`` in a value is replaced
        by that variable, ``${NAME:-text}`` by the text if it is not set, and ``$$`` by a dollar
        sign. Raises :class:`~gunicorn_prometheus_core.errors.SettingsError`.
        """
        return dict(_values(self.path, self._root, "", known, environ, aside))


def read(path: str) -> Document:
    """Read a file. Raises :class:`~gunicorn_prometheus_core.errors.SettingsError`."""
    root = _compose(path)
    if not isinstance(root, yaml.MappingNode):
        _fail(path, root, "", f"must be a map that begins with `{ROOT}:`, not {_is(root)}")
    return Document(path, root)


def _compose(path: str) -> yaml.Node:
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise SettingsError(
            f"{path!r}: can't be read: {error.strerror}; what load_yaml_config, --config or "
            "GUNICORN_PROMETHEUS_CONFIG names has to be a YAML file that this user may read"
        ) from None
    if len(data) > _LARGEST:
        raise SettingsError(f"{path!r}: must be at most {_LARGEST} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path!r}, line {line}: not UTF-8; save it as UTF-8") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join(filter(None, (error.context, error.problem))).replace("\n", " ")
        if "'\\t'" in problem:
            problem = "a tab, where YAML allows spaces only"
        raise SettingsError(f"{path!r}{at}: is not YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise SettingsError(f"{path!r}: is not YAML: {what}") from None
    if root is None:
        raise SettingsError(f"{path!r}: is empty; it has to hold settings")
    return root


def _values(
    path: str,
    node: yaml.MappingNode,
    above: str,
    known: Collection[str],
    environ: Mapping[str, str],
    aside: Collection[str],
) -> Iterator[tuple[str, Value]]:
    seen: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            _fail(path, key, above, f"a key must be a name, not {_is(key)}")
        name = f"{above}.{key.value}" if above else key.value
        if name in seen:
            first = seen[name].start_mark.line + 1
            _fail(path, key, name, f"is there already, in line {first}; leave one of them out")
        seen[name] = key
        if name in known:
            yield name, _value(path, value, name, environ)
        elif name in aside:
            continue
        elif not any(one.startswith(name + ".") for one in known):
            _fail(path, key, name, f"is not a setting{_suggestion(name, known)}")
        elif isinstance(value, yaml.MappingNode):
            yield from _values(path, value, name, known, environ, aside)
        elif _is(value) != "null":
            _fail(path, value, name, f"must be a map of settings, not {_is(value)}")


def _value(path: str, node: yaml.Node, name: str, environ: Mapping[str, str]) -> Value:
    if isinstance(node, yaml.SequenceNode):
        items = [_scalar(path, item, name, environ) for item in node.value]
        return Value(",".join(item.text for item in items), "seq", _place(path, node))
    return _scalar(path, node, name, environ)


def _scalar(path: str, node: yaml.Node, name: str, environ: Mapping[str, str]) -> Value:
    if not isinstance(node, yaml.ScalarNode):
        _fail(path, node, name, f"must be a value, not {_is(node)}")
    kind = _is(node)
    text, replaced = node.value, 0
    if kind == "str":

        def fill(found: re.Match[str]) -> str:
            variable, otherwise, opened = found.groups()
            if opened:
                _fail(path, node, name, "`${` must begin ${NAME} or ${NAME:-text}; `$$` is a `$`")
            if variable is None:
                return "$"
            filled = environ.get(variable) or otherwise
            if filled is None:
                _fail(path, node, name, f"the variable {variable} is not set; set it")
            return filled

        text, replaced = _VARIABLE.subn(fill, text)
    return Value(text, "given" if replaced else kind, _place(path, node))


def _is(node: yaml.Node) -> str:
    """What a node is, in the words of our messages."""
    if isinstance(node, yaml.MappingNode):
        return "a map"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return str(node.tag).removeprefix("tag:yaml.org,2002:")


def _place(path: str, node: yaml.Node) -> str:
    mark = node.start_mark
    return f"from {path}, line {mark.line + 1}, column {mark.column + 1}"


def _fail(path: str, node: yaml.Node, name: str, what: str) -> NoReturn:
    raise SettingsError(f"{name or 'the file'} ({_place(path, node)}): {what}")


def _suggestion(name: str, known: Collection[str]) -> str:
    """What could be meant: a name beside it, or the same name elsewhere."""
    above, _, last = name.rpartition(".")
    depth = name.count(".") + 1
    beside = {".".join(one.split(".")[:depth]) for one in known if one.startswith(above)}
    elsewhere = {*known, *(one.rpartition(".")[0] for one in known)}
    for candidates in (beside, elsewhere):
        ends = {one.rpartition(".")[2]: one for one in sorted(candidates)}
        close = difflib.get_close_matches(last, ends, 1, 0.7)
        if close:
            return f"; did you mean {ends[close[0]]}?"
    return f"; allowed here: {', '.join(sorted(one.rpartition('.')[2] for one in beside))}"
