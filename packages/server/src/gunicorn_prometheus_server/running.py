"""Putting the exporter process together, and running it to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Collection, Mapping, Sequence

from gunicorn_prometheus_core import catalogue, plugins
from gunicorn_prometheus_core.collecting import Collector
from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Recorder, count
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_core.storage import Storage

from .access import Watched
from .app import App
from .clients import Clients
from .defects import Defects
from .exchange import Patience
from .guard import Guard
from .measured import PROCESS, Everywhere, Measured
from .page import Page
from .publishing import Health, Shared
from .refusals import Refusals
from .room import Room
from .scrapes import Scrapes
from .serving import serve, stand_by
from .status import Status

#: Gives further collectors, told of the storage that hosts share, if there is one.
Collectors = Callable[[Shared | None], Mapping[str, Collector]]
#: Opens the sockets to listen at, and has the stack close them.
Listen = Callable[[contextlib.ExitStack], Sequence[socket.socket]]


def run(
    settings: Settings,
    directory: str,
    pages: Storage,
    recorder: Recorder,
    listen: Listen | None,
    *,
    parent: int | None = None,
    collectors: Collectors = lambda shared: {},
) -> None:
    """Serve these pages until asked to end, or until the parent process is gone.

    What hosts share is published and served as well, if the settings say so.
    Without ``listen`` nothing is served. Raises SettingsError, MissingPart,
    StorageUnavailable and OSError for what it can't begin with.
    """
    with contextlib.ExitStack() as stack:
        shared, backend = None, None
        if settings.storage != "mmap":
            backend = plugins.backend(settings)
        if listen is not None:
            count(recorder, catalogue.EXPORTER_ACCESS_ERRORS, 0)
            access = Watched(settings, lambda: count(recorder, catalogue.EXPORTER_ACCESS_ERRORS))
            listeners = listen(stack)
        if backend is not None:
            measured = Measured(installed_collectors(recorder, {PROCESS}))
            shared = Shared(pages, backend, settings, directory, recorder, parent, measured)
            shared.start()
            stack.callback(shared.stop)
        if listen is None:
            return asyncio.run(stand_by(parent))
        every = installed_collectors(recorder) | {"room": Room(directory)}
        every |= collectors(shared)
        if shared is not None:
            every["storage"] = Health(shared)
        for_page = _for_page(every)
        if shared is not None and PROCESS in every:
            every[PROCESS] = Everywhere(every[PROCESS], lambda: shared.others)
        exposition = Exposition(shared or pages, every)

        async def serve_all() -> None:
            refusals, defects = Refusals(recorder), Defects(recorder)
            scrapes = Scrapes(exposition, recorder)
            status = Status(shared or pages, for_page, settings.storage)
            page = Page(status, scrapes, defects) if settings.page else None
            app = App(scrapes, refusals, page)
            guarded = Guard(app, access, refusals)
            patience = Patience(settings.client_timeout_seconds)
            clients = Clients(guarded, access, refusals, defects, patience)
            await serve(clients, listeners, parent)

        asyncio.run(serve_all())


def installed_collectors(
    recorder: Recorder, only: Collection[str] | None = None
) -> dict[str, Collector]:
    """The installed collectors, or those of these names.

    One that can't be loaded is logged, counted and left out.
    """
    collectors: dict[str, Collector] = {}
    for point in plugins.members(plugins.COLLECTORS):
        if only is not None and point.name not in only:
            continue
        try:
            collectors[point.name] = point.load()()
        except Exception:
            count(recorder, catalogue.EXPORTER_COLLECTOR_ERRORS, collector=point.name)
            log.exception("collector %s could not be loaded; its families are left out", point.name)
    return collectors


def _for_page(collectors: Mapping[str, Collector]) -> dict[str, Collector]:
    """The collectors whose families the page shows.

    It measures processes by itself: CPU use is meant since the scrape before, whoever looks
    between scrapes.
    """
    own = {name: type(collectors[name])() for name in collectors.keys() & {PROCESS}}
    return own | {name: collectors[name] for name in collectors.keys() & {"storage"}}


def log_like_gunicorn() -> None:
    """Log to standard error in the form that Gunicorn has."""
    logging.basicConfig(
        level=logging.INFO,
        format="[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S %z",
    )
