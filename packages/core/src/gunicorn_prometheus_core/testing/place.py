"""Getting past a backend, to the place that it keeps things in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from ..storage import Backend, Snapshot


class Place:
    """What a backend's author says about it; to be subclassed.

    The methods go round the backend: a test that asks a backend to lose something would only show
    what that backend thinks. Those that are not overridden raise NotImplementedError. Of
    ``SharedStorageTests`` all are needed but ``record``; of ``StorageTests`` only that one.
    """

    #: What the entry point names: the backend's class, or whatever gives one without arguments.
    backend: type[Backend]
    #: The entry point's name.
    name: ClassVar[str]
    #: Variables, as of the environment, that lead to the place; they are read like everybody's.
    environ: Mapping[str, str] = {}
    #: Further ones with which an instance that publishes nothing is dead within about a second.
    short_lived: Mapping[str, str] = {}

    def stop(self) -> None:
        """Nobody can reach it, as when a server has gone. What it has may be lost or not."""
        raise NotImplementedError("Place.stop")

    def start(self) -> None:
        """It can be reached again after ``stop``."""
        raise NotImplementedError("Place.start")

    def pause(self) -> None:
        """It takes what it is told and doesn't answer, as when a server is stopped or locked."""
        raise NotImplementedError("Place.pause")

    def resume(self) -> None:
        """It answers again after ``pause``."""
        raise NotImplementedError("Place.resume")

    def wipe(self) -> None:
        """It is there, and has lost everything."""
        raise NotImplementedError("Place.wipe")

    def damage(self) -> None:
        """Some of what it has is there and means nothing any more."""
        raise NotImplementedError("Place.damage")

    def record(self, directory: str, snapshots: Iterable[Snapshot]) -> None:
        """Put these into the pages in this directory, in place of all that are there.

        Only for a backend that reads pages, where publishing does nothing.
        """
        raise NotImplementedError("Place.record")
