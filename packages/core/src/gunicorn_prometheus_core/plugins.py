"""Finding parts by entry point, loading only the one that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import MissingPart, SettingsError
from .settings import Settings
from .storage import CAPABILITIES, PROTOCOL, Backend

STORAGE = "gunicorn_prometheus.storage"
WORKERS = "gunicorn_prometheus.workers"
MASTER = "gunicorn_prometheus.master"
SERVER = "gunicorn_prometheus.server"
COLLECTORS = "gunicorn_prometheus.collectors"
ROUTES = "gunicorn_prometheus.routes"

_WORKERS = (
    *("sync", "gthread", "gevent", "gevent_pywsgi"),
    *("eventlet", "tornado", "asgi", "uvicorn"),
)

#: What brings the members that we ship; a third party's name is not in here.
REMEDIES = {
    (STORAGE, "mmap"): "gunicorn-prometheus-storage-mmap",
    (STORAGE, "redis"): "gunicorn-prometheus-storage-redis",
    **{(WORKERS, kind): "gunicorn-prometheus-workers" for kind in _WORKERS},
    (MASTER, "default"): "gunicorn-prometheus-master",
    **{
        (SERVER, name): "gunicorn-prometheus-server"
        for name in ("default", "check", "sidecar", "standalone", "health")
    },
}


#: Storage backends of ours: whatever can be set for them is declared in ``settings``.
OURS = frozenset({"mmap", "redis"})


def names(group: str) -> list[str]:
    """The names installed in an entry-point group, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def find(group: str, name: str) -> EntryPoint | None:
    """The entry point of that name, not loaded; None if nothing installed has it."""
    return next(iter(entry_points(group=group, name=name)), None)


def load(group: str, name: str) -> Any:
    """Load one member of a group and nothing else.

    Raises :class:`~gunicorn_prometheus_core.errors.MissingPart` when it is not
    installed, naming the remedy.
    """
    point = find(group, name)
    if point is None:
        raise MissingPart(f"nothing installed provides {name!r} in {group}: {_remedy(group, name)}")
    return point.load()


def _remedy(group: str, name: str) -> str:
    """What to do when it is not installed."""
    distribution = REMEDIES.get((group, name))
    if distribution is not None:
        return f"pip install {distribution}"
    return f"installed are: {', '.join(names(group)) or 'none'}"


def backend(settings: Settings) -> Backend:
    """The storage backend that the settings name.

    Raises :class:`~gunicorn_prometheus_core.errors.SettingsError` when it is not installed, and
    :class:`~gunicorn_prometheus_core.errors.MissingPart` when what is installed can't be used.
    """
    name = settings.storage
    point = find(STORAGE, name)
    if point is None:
        said, remedy = settings.said("storage"), _remedy(STORAGE, name)
        raise SettingsError(f"{said}: must be the name of an installed storage backend; {remedy}")
    whose = point.dist.name if point.dist else point.module
    try:
        made = point.load()()
        version, capabilities = int(made.protocol), frozenset(made.capabilities)
        options = [option.name for option in made.options]
    except Exception as error:
        raise MissingPart(
            f"the storage backend {name!r} of {whose} can't be used: "
            f"{type(error).__name__}: {' '.join(str(error).split())}; "
            f"mend or update {whose}, or choose another one with GUNICORN_PROMETHEUS_STORAGE"
        ) from error
    if version != PROTOCOL:
        outdated = whose if version < PROTOCOL else "gunicorn-prometheus-core"
        raise MissingPart(
            f"the storage backend {name!r} of {whose} is made for version {version} of the storage "
            f"protocol, and this is version {PROTOCOL}: pip install --upgrade {outdated}"
        )
    if not capabilities <= CAPABILITIES or len(set(options)) < len(options):
        wrong = sorted(capabilities - CAPABILITIES) or sorted(options)
        raise MissingPart(
            f"the storage backend {name!r} of {whose} declares what there is not, or twice: "
            f"{', '.join(wrong)}; update {whose}"
        )
    found: Backend = made
    return found


def members(group: str) -> Iterator[EntryPoint]:
    """Every entry point of a group, not loaded, in the order of their names."""
    return iter(sorted(entry_points(group=group), key=lambda point: point.name))
