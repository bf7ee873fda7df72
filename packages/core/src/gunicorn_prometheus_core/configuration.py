"""Where settings get their values: the environment, over a YAML file, over the defaults.

The master reads them and puts them in force; its workers, which are forks,
find them so, and the exporter process is told them. So all processes of a
server go by the same values, whatever becomes of the file meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from . import document
from .errors import SettingsError
from .settings import DECLARATIONS, Declaration, Origin, Settings, default, shown

#: Variable with the path of the YAML file.
FILE_VARIABLE = "GUNICORN_PROMETHEUS_CONFIG"
_IN_THE_ENVIRONMENT = "from the environment"

_in_force: Settings | None = None


def load(environ: Mapping[str, str] | None = None, path: str | None = None) -> Settings:
    """Read the settings from the environment and from the YAML file that it or ``path`` names.

    A variable that is set but empty counts as not set, as container manifests
    leave them. Raises :class:`~gunicorn_prometheus_core.errors.SettingsError`.
    """
    environ = os.environ if environ is None else environ
    path = path or environ.get(FILE_VARIABLE, "").strip() or None
    written = _written(path, environ) if path else {}
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for name, declared in DECLARATIONS.items():
        given = _from_environment(declared, environ) or written.get(name)
        if given is not None:
            values[name] = _parsed(name, declared, given)
            origins[name] = given.origin
    _resolve_storage(values, origins)
    settings = Settings(**values, origins=origins)
    if settings.storage == "redis":
        _check_redis(settings)
    return settings


def load_yaml_config(path: str | os.PathLike[str]) -> None:
    """Let the settings of this process, and of those it starts, come from this YAML file, too.

    For Gunicorn's configuration file. The file is read when the server starts
    and at each reload, where a mistake is reported in one line; a server that
    is running goes on with what it had.
    """
    os.environ[FILE_VARIABLE] = os.path.abspath(path)


def put_in_force(settings: Settings) -> None:
    """Make these the settings of this process, and of those that are forked from it."""
    global _in_force
    _in_force = settings


def in_force() -> Settings:
    """The settings of this process; where nobody has put any in force, they are read now.

    Raises :class:`~gunicorn_prometheus_core.errors.SettingsError` in the latter case.
    """
    return _in_force or load()


class _Given(NamedTuple):
    text: str
    origin: Origin
    #: What it is in YAML; None for what can be meant as anything.
    kind: str | None = None


def _from_environment(declared: Declaration, environ: Mapping[str, str]) -> _Given | None:
    origin = Origin(declared.variable, _IN_THE_ENVIRONMENT)
    text = environ.get(declared.variable, "")
    given = _Given(text, origin) if text.strip() else None
    if declared.secret:
        at = Origin(f"{declared.variable}_FILE", _IN_THE_ENVIRONMENT)
        file = environ.get(at.name, "").strip()
        return _secret(given, _Given(file, at) if file else None)
    return given


def _written(path: str, environ: Mapping[str, str]) -> dict[str, _Given]:
    """What the file says, by the names of the fields."""
    known = {where: name for name, declared in DECLARATIONS.items() for where in _paths(declared)}
    found = {
        where: _Given(value.text, Origin(where, value.place), value.kind)
        for where, value in document.read(path, known, environ).items()
        if value.kind != "null" and value.text.strip()
    }
    written = {}
    for name, declared in DECLARATIONS.items():
        given = found.get(declared.path)
        if declared.secret:
            given = _secret(given, found.get(f"{declared.path}_file"))
        if given is not None:
            written[name] = given
    return written


def _paths(declared: Declaration) -> Iterator[str]:
    yield declared.path
    if declared.secret:
        yield f"{declared.path}_file"


def _secret(given: _Given | None, file: _Given | None) -> _Given | None:
    """A secret that is given itself, or in a file."""
    if file is None:
        return given
    if given is not None:
        raise SettingsError(f"{given.origin} and {file.origin}: not both")
    try:
        with open(file.text, encoding="utf-8") as opened:
            text = opened.read().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(
            f"{file.origin.name}={file.text!r} ({file.origin.place}): can't be read: {why}; "
            "it has to be a file that holds nothing but the secret"
        ) from None
    if not text:
        raise SettingsError(f"{file.origin.name}={file.text!r} ({file.origin.place}): is empty")
    return _Given(text, file.origin)


def _parsed(name: str, declared: Declaration, given: _Given) -> Any:
    kind = declared.kind
    text = "(a secret)" if declared.secret else repr(given.text)
    problem = ""
    if given.kind in (None, "given", *kind.yaml):
        try:
            return kind.parse(given.text)
        except ValueError:
            pass
    elif given.kind == "str":
        problem = ", without quotation marks"
    otherwise = shown(default(name)) or "not set"
    raise SettingsError(
        f"{given.origin.name}={text} ({given.origin.place}): "
        f"must be {kind.allowed}{problem} (default: {otherwise})"
    ) from None


def _resolve_storage(values: dict[str, Any], origins: dict[str, Origin]) -> None:
    """Two settings say which storage it is; let them agree."""
    storage, redis = origins.get("storage"), origins.get("redis_enabled")
    contradiction = (values.get("storage") == "redis") != values.get("redis_enabled", False)
    if storage and redis and contradiction:
        if (storage.place == _IN_THE_ENVIRONMENT) == (redis.place == _IN_THE_ENVIRONMENT):
            enabled = shown(values["redis_enabled"])
            raise SettingsError(
                f"{storage.name}={values['storage']} ({storage.place}) and "
                f"{redis.name}={enabled} ({redis.place}): they contradict each other; "
                "leave one of them out"
            )
        weaker = "redis_enabled" if storage.place == _IN_THE_ENVIRONMENT else "storage"
        del values[weaker], origins[weaker]
    if "storage" in values:
        values["redis_enabled"] = values["storage"] == "redis"
        origins["redis_enabled"] = origins["storage"]
    elif "redis_enabled" in values:
        values["storage"] = "redis" if values["redis_enabled"] else default("storage")
        origins["storage"] = origins["redis_enabled"]


def _check_redis(settings: Settings) -> None:
    """Raise SettingsError for settings that contradict each other."""
    said = settings.said
    if settings.redis_sentinels and settings.redis_cluster:
        raise SettingsError(f"{said('redis_sentinels')} and {said('redis_cluster')}: not both")
    if settings.redis_url and settings.redis_sentinels:
        raise SettingsError(f"{said('redis_url')} and {said('redis_sentinels')}: not both")
    if settings.redis_cluster and settings.redis_db:
        raise SettingsError(f"{said('redis_db')}: must be 0 in a cluster")
    least = 3 * settings.publish_seconds
    if not settings.redis_ttl_disabled and settings.redis_ttl_seconds < least:
        raise SettingsError(
            f"{said('redis_ttl_seconds')}: must be at least {least:g}, 3 times "
            f"{said('publish_seconds')}"
        )
