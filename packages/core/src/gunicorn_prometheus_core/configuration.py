"""Where settings get their values: the environment, over a YAML file, over the defaults.

The master reads them and puts them in force; its workers, which are forks,
find them so, and the exporter process is told them. So all processes of a
server go by the same values, whatever becomes of the file meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from . import document, plugins
from .errors import MissingPart, SettingsError
from .settings import DECLARATIONS, OWN, ROOT, Declaration, Origin, Settings, default, shown

#: Variable with the path of the YAML file.
FILE_VARIABLE = "GUNICORN_PROMETHEUS_CONFIG"
_IN_THE_ENVIRONMENT = "from the environment"
#: In Kubernetes a service named redis makes REDIS_PORT begin so, in every pod beside it, and one
#: named prometheus-metrics PROMETHEUS_METRICS_PORT.
#: https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
_OF_A_SERVICE = "tcp://"

_in_force: Settings | None = None


def load(environ: Mapping[str, str] | None = None, path: str | None = None) -> Settings:
    """Read the settings from the environment and from the YAML file that it or ``path`` names.

    A variable that is set but empty counts as not set, as container manifests
    leave them; so does a port that is not meant for us but is a service's. Of storage backends only
    the chosen one is loaded, and only if it isn't ours, for the settings it declares itself. Raises
    :class:`~gunicorn_prometheus_core.errors.SettingsError`, and
    :class:`~gunicorn_prometheus_core.errors.MissingPart` for a backend that can't be used.
    """
    environ = os.environ if environ is None else environ
    path = path or environ.get(FILE_VARIABLE, "").strip() or None
    file = document.read(path) if path else None
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    aside = {
        f"{ROOT}.{name}" for name in plugins.names(plugins.STORAGE) if name not in plugins.OURS
    }
    written = _written(file, DECLARATIONS, environ, aside)
    _take(DECLARATIONS, written, environ, values, origins)
    _resolve_storage(values, origins)
    settings = _with_own(Settings(**values, origins=origins), file, environ, aside)
    _check_directory(settings)
    if settings.storage == "redis":
        _check_redis(settings)
    return settings


def _take(
    declarations: Mapping[str, Declaration],
    written: Mapping[str, _Given],
    environ: Mapping[str, str],
    values: dict[str, Any],
    origins: dict[str, Origin],
) -> None:
    """Add what is given for these settings."""
    variables = {
        name: _Given(name, text, _IN_THE_ENVIRONMENT)
        for name, text in environ.items()
        if text.strip() and not (name.endswith("_PORT") and text.startswith(_OF_A_SERVICE))
    }
    for name, declared in declarations.items():
        given = _given(declared, variables, declared.variable, "_FILE")
        given = given or _given(declared, written, declared.path, "_file")
        if given is not None:
            values[name] = _parsed(declared, given)
            origins[name] = given.origin(secret=declared.secret)


def _with_own(
    settings: Settings,
    file: document.Document | None,
    environ: Mapping[str, str],
    aside: Collection[str],
) -> Settings:
    """The settings with those that the chosen storage backend declares itself.

    Ours are all declared above: only for somebody else's the backend has to be loaded. Where it
    isn't installed there is nothing to add, and whoever needs it says so.
    """
    name = settings.storage
    if name in plugins.OURS or plugins.find(plugins.STORAGE, name) is None:
        return settings
    options = {
        f"{OWN}{one.name}": one.declared_by(name) for one in plugins.backend(settings).options
    }
    ours = {one for declared in DECLARATIONS.values() for one in (declared.path, declared.variable)}
    for declared in options.values():
        if not ours.isdisjoint((declared.path, declared.variable)):
            raise MissingPart(
                f"the storage backend {name!r} declares {declared.variable}, which is a setting of "
                "ours; it needs another name"
            )
    known, others = {**DECLARATIONS, **options}, set(aside) - {f"{ROOT}.{name}"}
    values = {name: declared.default for name, declared in options.items()}
    origins = dict(settings.origins)
    _take(options, _written(file, known, environ, others), environ, values, origins)
    own = {name.removeprefix(OWN): value for name, value in values.items()}
    return replace(settings, own=own, origins=origins, options=options)


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

    Raises what ``load`` raises, in the latter case.
    """
    return _in_force or load()


def check_sidecar(settings: Settings) -> None:
    """Raise SettingsError where a server leaves its metrics to a sidecar that can't find them."""
    if settings.sidecar_mode and settings.storage == "mmap" and settings.multiproc_dir is None:
        raise SettingsError(
            f"{settings.said('sidecar_mode')}: a sidecar would not find these metrics; set "
            "PROMETHEUS_MULTIPROC_DIR to a directory that it shares, or use a storage that "
            "hosts share"
        )


class _Given(NamedTuple):
    """A text as it is given, before it is known whether it can be used."""

    name: str
    text: str
    place: str
    #: What it is in YAML; what comes from the environment can be meant as anything.
    kind: str = "given"

    def origin(self, *, secret: bool) -> Origin:
        return Origin(self.name, "(a secret)" if secret else repr(self.text), self.place)


def _written(
    file: document.Document | None,
    declarations: Mapping[str, Declaration],
    environ: Mapping[str, str],
    aside: Collection[str],
) -> dict[str, _Given]:
    """What the file says of these settings, by its own names; ``aside`` are others' sections."""
    if file is None:
        return {}
    known = [declared.path for declared in declarations.values()]
    known += [f"{declared.path}_file" for declared in declarations.values() if declared.secret]
    values = file.values(known, environ, aside)
    return {
        name: _Given(name, value.text, value.place, value.kind)
        for name, value in values.items()
        if value.kind != "null" and value.text.strip()
    }


def _given(
    declared: Declaration, found: Mapping[str, _Given], name: str, file: str
) -> _Given | None:
    """What is found of a setting under its name, or for a secret in the file that is named."""
    given, pointer = found.get(name), found.get(name + file) if declared.secret else None
    if pointer is None:
        return given
    where = pointer.origin(secret=False)
    if given is not None:
        raise SettingsError(f"{given.origin(secret=True)} and {where}: not both")
    try:
        with open(pointer.text, encoding="utf-8") as opened:
            text = opened.read().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(
            f"{where}: can't be read: {why}; it has to be a file that holds nothing but the secret"
        ) from None
    if not text:
        raise SettingsError(f"{where}: is empty; it has to hold the secret")
    return pointer._replace(text=text, kind="given")


def _parsed(declared: Declaration, given: _Given) -> Any:
    kind = declared.kind
    without = ""
    if given.kind in ("given", *kind.yaml):
        try:
            return kind.parse(given.text)
        except ValueError:
            pass
    elif given.kind == "str":
        without = ", without quotation marks"
    raise SettingsError(
        f"{given.origin(secret=declared.secret)}: must be {kind.allowed}{without} "
        f"(default: {shown(declared.default) or 'not set'})"
    ) from None


def _resolve_storage(values: dict[str, Any], origins: dict[str, Origin]) -> None:
    """Two settings say which storage it is; let them agree."""
    storage, redis = origins.get("storage"), origins.get("redis_enabled")
    contradiction = (values.get("storage") == "redis") != values.get("redis_enabled", False)
    if storage and redis and contradiction:
        if (storage.place == _IN_THE_ENVIRONMENT) == (redis.place == _IN_THE_ENVIRONMENT):
            raise SettingsError(
                f"{storage} and {redis}: they contradict each other; leave one of them out"
            )
        weaker = "redis_enabled" if storage.place == _IN_THE_ENVIRONMENT else "storage"
        del values[weaker], origins[weaker]
    if "storage" in values:
        values["redis_enabled"] = values["storage"] == "redis"
        origins["redis_enabled"] = origins["storage"]
    elif "redis_enabled" in values:
        values["storage"] = "redis" if values["redis_enabled"] else default("storage")
        origins["storage"] = origins["redis_enabled"]


def _check_directory(settings: Settings) -> None:
    path = settings.multiproc_dir
    if path is not None and os.path.exists(path) and not os.path.isdir(path):
        raise SettingsError(
            f"{settings.said('multiproc_dir')}: "
            "must be a directory, or a path where one can be made"
        )


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
