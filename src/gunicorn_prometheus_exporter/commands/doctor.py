"""Check what is set and installed, and whether it can work

It starts nothing and changes nothing. Status 0: all is well; 1: something is
wrong, and the remedy is printed; 2: a setting can't be used.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, requires, version
from typing import NamedTuple

from packaging.requirements import Requirement

from gunicorn_prometheus_core import configuration, listening, plugins
from gunicorn_prometheus_core.checking import Checking
from gunicorn_prometheus_core.errors import SettingsError, StorageUnavailable
from gunicorn_prometheus_core.settings import Origin, Settings, shown

from . import output


class Finding(NamedTuple):
    """What one look has found: ``fine``, ``note`` or ``wrong``; and what helps."""

    state: str
    text: str
    remedy: str = ""


_STYLES = {"fine": "green", "note": "yellow", "wrong": "red"}
_DISTRIBUTIONS = ("core", "storage-mmap", "storage-redis", "workers", "master", "server")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add its arguments."""
    parser.add_argument(
        "--all", action="store_true", help="show settings that have their default, too"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print everything; status 1 if anything is wrong.

    Raises SettingsError for what no server would start with.
    """
    plugins.backend(settings)
    configuration.check_sidecar(settings)
    if plugins.find(plugins.SERVER, "check") is not None:
        plugins.load(plugins.SERVER, "check")(settings)
    output.heading("Settings")
    output.rows(_settings(settings, everything=arguments.all))
    print()
    output.heading("Installed")
    output.rows(_installed())
    print()
    output.heading("Findings")
    findings = [finding for look in _LOOKS for finding in look(settings)]
    for state, text, remedy in findings:
        print(f"  {output.styled(f'{state:5}', _STYLES[state])}  {text}")
        if remedy:
            print(f"         {output.styled('->', 'bold')} {remedy}")
    return 1 if any(finding.state == "wrong" for finding in findings) else 0


def _settings(settings: Settings, *, everything: bool) -> Iterator[tuple[str, str, str]]:
    yield "NAME", "VALUE", "SOURCE"
    for name, declared in settings.declarations().items():
        origin = settings.origins.get(name)
        if origin is None and not everything:
            continue
        value = settings.value(name)
        text = "********" if declared.secret and value else shown(value) or "(not set)"
        yield declared.variable, text, _source(declared.variable, origin)
    if not settings.origins and not everything:
        yield "(all have their defaults)", "", ""


def _source(variable: str, origin: Origin | None) -> str:
    if origin is None:
        return "default"
    return origin.place if origin.name == variable else f"{origin.name}, {origin.place}"


def _installed() -> Iterator[tuple[str, str]]:
    ours = ["gunicorn-prometheus-exporter"]
    ours += [f"gunicorn-prometheus-{name}" for name in _DISTRIBUTIONS]
    for name in (*ours, "gunicorn", "prometheus_client", "redis", "psutil", "uvicorn"):
        yield name, _version(name) or "not installed"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _look_at_versions(settings: Settings) -> Iterator[Finding]:
    """What the installed distributions ask of each other and of libraries."""
    complaints = []
    for name in _DISTRIBUTIONS:
        distribution = f"gunicorn-prometheus-{name}"
        if _version(distribution) is None:
            continue
        for text in requires(distribution) or ():
            wanted = Requirement(text)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            present = _version(wanted.name)
            if present is None or not wanted.specifier.contains(present, prereleases=True):
                complaints.append(
                    Finding(
                        "wrong",
                        f"{distribution} needs {wanted.name}{wanted.specifier}; "
                        f"there is {present or 'none'}",
                        f'pip install "{wanted.name}{wanted.specifier}"',
                    )
                )
    yield from complaints or [Finding("fine", "the installed versions go together")]


def _look_at_names(settings: Settings) -> Iterator[Finding]:
    """Variables that are almost settings."""
    declarations = settings.declarations().values()
    known = {declared.variable for declared in declarations}
    known |= {f"{declared.variable}_FILE" for declared in declarations if declared.secret}
    known |= {configuration.FILE_VARIABLE}
    for name in sorted(os.environ.keys() - known):
        close = difflib.get_close_matches(name, known, 1, 0.9)
        if close or name.startswith("GUNICORN_PROMETHEUS_"):
            hint = f"did you mean {close[0]}?" if close else "`doctor --all` shows those there are"
            yield Finding("note", f"the variable {name} is not a setting", hint)


def _look_at_directory(settings: Settings) -> Iterator[Finding]:
    """Where the pages are."""
    if settings.multiproc_dir is None:
        yield Finding("fine", "pages: in a private directory of each server")
        return
    path = os.path.abspath(settings.multiproc_dir)
    there = path
    while not os.path.exists(there):
        there = os.path.dirname(there)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield Finding(
            "wrong",
            f"pages: {settings.said('multiproc_dir')} can't be written: {error.strerror}",
            "let the user that Gunicorn's workers run as own the directory; without it a private "
            "one is used, which a sidecar does not see",
        )
    else:
        what = "can be written" if there == path else f"can be made in {there}"
        yield Finding("fine", f"pages: {path} {what}")


def _look_at_endpoint(settings: Settings) -> Iterator[Finding]:
    """Whether the address is free, or already ours."""
    if settings.sidecar_mode:
        yield Finding("fine", "endpoint: a sidecar's business")
        return
    for address in listening.addresses(settings.bind_address, settings.metrics_port):
        try:
            listening.forget(listening.listen([address]))
        except OSError as error:
            yield _taken(replace(settings, bind_address=str(address)), error)
        else:
            yield Finding("fine", f"endpoint: {address} is free")


def _taken(settings: Settings, error: OSError) -> Finding:
    """Of an endpoint with one address, which can't be had."""
    where = settings.bind_address
    if error.errno == errno.EADDRINUSE and plugins.find(plugins.SERVER, "health") is not None:
        well, _ = plugins.load(plugins.SERVER, "health")(settings, seconds=2.0)
        if well:
            return Finding("fine", f"endpoint: metrics are served at {where}")
    return Finding(
        "wrong",
        f"endpoint: can't listen at {error.strerror or error}",
        "end what listens there, or set PROMETHEUS_METRICS_PORT or PROMETHEUS_BIND_ADDRESS",
    )


def _look_at_access(settings: Settings) -> Iterator[Finding]:
    """Certificates and users of the endpoint; that they can be used is known by now."""
    restricted = settings.ssl_certfile or settings.web_config_file
    yield Finding("fine", f"access: {'as configured' if restricted else 'open, without TLS'}")


def _look_at_parts(settings: Settings) -> Iterator[Finding]:
    """The parts that these settings need."""
    needed = [(plugins.STORAGE, "mmap"), (plugins.WORKERS, "sync"), (plugins.MASTER, "default")]
    if not settings.sidecar_mode:
        needed.append((plugins.SERVER, "default"))
    missing = [one for one in needed if plugins.find(*one) is None]
    for group, name in missing:
        yield Finding(
            "wrong",
            f"nothing installed provides {name!r} in {group}",
            f"pip install {plugins.REMEDIES[group, name]}",
        )
    if not missing:
        yield Finding("fine", "all parts are installed")


def _look_at_storage(settings: Settings) -> Iterator[Finding]:
    """Whether a storage that hosts share can be reached."""
    if settings.storage == "mmap":
        return
    try:
        with tempfile.TemporaryDirectory() as directory:
            storage = plugins.backend(settings).open(settings, directory)
            try:
                found = storage.collect()
            finally:
                storage.close()
            found = Checking().snapshots(found)
    except StorageUnavailable as error:
        yield Finding(
            "wrong",
            f"storage: {error}",
            "see that it runs and that the settings say where, and who we are; until it can be "
            "reached this host's own values are served, and none are lost",
        )
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001  whatever a third party's backend raises
        yield Finding(
            "wrong",
            f"storage: the backend {settings.storage} failed: {type(error).__name__}: {error}",
            "report it to whom the backend is from; this host's own values are served without it",
        )
    else:
        hosts = len({one.instance for one in found})
        yield Finding(
            "fine", f"storage: {settings.storage} answers and has values of {hosts} hosts"
        )


_LOOKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _look_at_parts,
    _look_at_versions,
    _look_at_names,
    _look_at_directory,
    _look_at_endpoint,
    _look_at_access,
    _look_at_storage,
)
