import functools
import subprocess
import sys

import pytest
from gunicorn.config import Config
from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import ThreadWorker
from gunicorn.workers.sync import SyncWorker

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_workers._gunicorn import add_hooks
from gunicorn_prometheus_workers.gthread import PrometheusThreadWorker
from gunicorn_prometheus_workers.mixin import PrometheusMixin
from gunicorn_prometheus_workers.sync import PrometheusWorker


def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


# Hooks


class Calls(list):
    def pre(self, worker, req):
        self.append(("pre", worker, req))

    def post_2(self, worker, req):
        self.append(("post", worker, req))

    def post_3(self, worker, req, environ):
        self.append(("post", worker, req, environ))

    def post_4(self, worker, req, environ, resp):
        self.append(("post", worker, req, environ, resp))


class Callable:
    """A hook that is neither a function nor a method."""

    def __init__(self, calls):
        self.calls = calls

    def __call__(self, worker, req, environ, resp):
        self.calls.post_4(worker, req, environ, resp)


POST_HOOKS = {
    "2 arguments": lambda calls: calls.post_2,
    "3 arguments": lambda calls: calls.post_3,
    "4 arguments": lambda calls: calls.post_4,
    "lambda": lambda calls: (
        lambda worker, req, env, resp: calls.append(("post", worker, req, env, resp))
    ),
    "partial": lambda calls: functools.partial(Calls.post_4, calls),
    "object": Callable,
    "none": None,
}


@pytest.mark.parametrize("hook", POST_HOOKS)
@pytest.mark.parametrize("with_pre", [True, False])
def test_hooks_of_the_user_are_called_with_what_they_take_inside_ours(hook, with_pre):
    calls = Calls()
    cfg = Config()
    if with_pre:
        cfg.set("pre_request", calls.pre)
    if POST_HOOKS[hook]:
        cfg.set("post_request", POST_HOOKS[hook](calls))
    add_hooks(
        cfg,
        lambda worker, req: calls.append(("begin", req)),
        lambda worker, req, environ, resp: calls.append(("end", req, resp)),
    )
    cfg.pre_request("worker", "req")
    cfg.post_request("worker", "req", "environ", "resp")
    arguments = ("worker", "req", "environ", "resp")
    taken = int(hook[0]) if hook[0].isdigit() else 4
    assert calls == [
        ("begin", "req"),
        *([("pre", "worker", "req")] if with_pre else []),
        ("end", "req", "resp"),
        *([("post", *arguments[:taken])] if POST_HOOKS[hook] else []),
    ]


@pytest.mark.parametrize("hook", ["pre_request", "post_request"])
def test_a_hook_of_the_user_that_fails_leaves_no_request_in_progress(
    make_worker, exchange, recorder, get, hook
):
    def fails(worker, req):
        raise RuntimeError("no luck")

    exchange(make_worker(hello, **{hook: fails}), get("/a"))
    assert recorder.total(c.WORKER_IN_PROGRESS.name) == 0
    status = "500" if hook == "pre_request" else "200"
    assert recorder.requests() == {("GET", "/a", status): 1}


# The life of a worker


@pytest.mark.parametrize(
    ("kind", "settings", "capacity"),
    [
        (PrometheusWorker, {}, 1),
        (PrometheusThreadWorker, {"threads": 7}, 7),
        (type("Own", (PrometheusMixin, SyncWorker), {"capacity": 3}), {}, 3),
    ],
)
def test_a_worker_that_begins_owns_a_slot_and_says_its_capacity_and_state(
    make_worker, recorder, kind, settings, capacity
):
    make_worker(hello, kind, **settings)
    assert recorder.process == "worker-0"
    assert recorder.samples(c.WORKER_CAPACITY.name) == [({}, capacity)]
    ((labels, since),) = recorder.samples(c.WORKER_STATE.name)
    assert labels == {"state": "running"}
    assert since > 1.6e9


def test_a_bare_subclass_records(make_worker, exchange, recorder, get):
    class Bare(PrometheusMixin, SyncWorker):
        pass

    assert exchange(make_worker(hello, Bare), get("/a")).endswith(b"hello")
    assert recorder.requests() == {("GET", "/a", "200"): 1}
    assert recorder.samples(c.WORKER_CAPACITY.name) == [({}, 1)]


def test_a_heartbeat_ticks_about_once_a_second(make_worker, recorder):
    worker = make_worker(hello)
    before = recorder.ticks
    for _ in range(1000):
        worker.notify()
    assert recorder.ticks <= before + 2


def test_a_signal_only_notes_the_state_and_the_next_heartbeat_records_it(make_worker, recorder):
    worker = make_worker(hello)
    with recorder.lock:
        worker.handle_exit(15, None)
        assert [labels["state"] for labels, _ in recorder.samples(c.WORKER_STATE.name)] == [
            "running"
        ]
    assert not worker.alive
    worker.notify()
    states = {labels["state"]: since for labels, since in recorder.samples(c.WORKER_STATE.name)}
    assert states.keys() == {"running", "quitting"}
    assert states["quitting"] >= states["running"]


@pytest.mark.parametrize("name", ["handle_quit", "handle_abort"])
def test_signals_that_end_the_worker_at_once_end_it(make_worker, name):
    worker = make_worker(hello)
    with pytest.raises(SystemExit):
        getattr(worker, name)(3, None)


def test_the_end_of_a_worker_is_a_state(make_worker, recorder):
    worker = make_worker(hello)
    worker._lifecycle.end()
    assert "stopped" in {labels["state"] for labels, _ in recorder.samples(c.WORKER_STATE.name)}
    assert recorder.noted == {}


def test_a_worker_that_has_handled_its_requests_notes_why_it_ends(
    make_worker, exchange, recorder, get
):
    worker = make_worker(hello, max_requests=2)
    exchange(worker, get())
    worker._lifecycle.end()
    assert recorder.noted == {}
    exchange(worker, get())
    assert not worker.alive
    worker._lifecycle.end()
    assert recorder.noted == {"exit": "max_requests"}


@pytest.mark.parametrize(("signalled", "noted"), [(False, {"exit": "reload"}), (True, {})])
def test_a_worker_that_the_reloader_ends_notes_that(make_worker, recorder, signalled, noted):
    worker = make_worker(hello)
    worker.reloader = object()
    if signalled:
        worker.handle_exit(15, None)
    worker._lifecycle.end()
    assert recorder.noted == noted


def test_a_worker_whose_recording_cannot_begin_serves_all_the_same(
    make_worker, exchange, recorder, get, logged
):
    recorder.broken = True
    worker = make_worker(hello)
    assert worker._lifecycle is None
    assert exchange(worker, get()).endswith(b"hello")
    assert exchange(worker, b"GARBAGE\r\n\r\n").startswith(b"HTTP/1.1 400")
    worker.notify()
    worker.handle_exit(15, None)
    assert [record.getMessage() for record in logged] == ["this worker records nothing"]


def test_a_heartbeat_that_cannot_be_recorded_is_not_the_workers_trouble(
    make_worker, recorder, logged
):
    worker = make_worker(hello)
    recorder.broken = True
    worker.handle_exit(15, None)
    for _ in range(3):
        worker.notify()
    worker._lifecycle.end()
    assert len(logged) == 1


def test_without_a_master_of_ours_the_configured_directory_is_recorded_into(
    make_worker, pages, recorder, tmp_path, monkeypatch
):
    path = tmp_path / "pages"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(path))
    activated = []
    pages.recorder_in_use = None
    pages.activated = lambda directory: activated.append(directory) or recorder
    make_worker(hello)
    assert activated == [str(path)]
    assert path.is_dir()
    assert recorder.process == "worker-0"


def test_without_a_master_and_a_directory_a_warning_says_what_to_do(
    make_worker, exchange, pages, get, monkeypatch, logged
):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    pages.recorder_in_use = None
    worker = make_worker(hello)
    (message,) = [record.getMessage() for record in logged]
    assert message.startswith("nothing is recorded")
    assert "PROMETHEUS_MULTIPROC_DIR" in message
    assert "pip install gunicorn-prometheus-master" in message
    assert exchange(worker, get()).endswith(b"hello")


# What Gunicorn asks of a class


def test_setup_of_the_class_activates_a_master_if_one_is_installed(tmp_path, monkeypatch):
    info = tmp_path / "their_master-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-master\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gunicorn_prometheus.master]\ndefault = their_master:activate\n"
    )
    (tmp_path / "their_master.py").write_text(
        "calls = []\ndef activate(instrument): calls.append(instrument)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import their_master

    PrometheusWorker.setup()
    PrometheusThreadWorker.setup()
    assert their_master.calls == [None, None]
    sys.modules.pop("their_master")


def test_setup_of_the_class_goes_on_to_the_workers_own(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    calls = []

    class Theirs(Worker):
        @classmethod
        def setup(cls):
            calls.append(cls)

    class Ours(PrometheusMixin, Theirs):
        pass

    Ours.setup()
    assert calls == [Ours]


@pytest.mark.parametrize(
    ("ours", "theirs"), [(PrometheusWorker, SyncWorker), (PrometheusThreadWorker, ThreadWorker)]
)
def test_a_class_of_ours_is_a_worker_of_gunicorns(ours, theirs):
    assert issubclass(ours, theirs)


def test_setup_of_the_class_freezes_what_is_loaded_and_nothing_later():
    code = """
import gc
from gunicorn_prometheus_workers.sync import PrometheusWorker
assert gc.get_freeze_count() < 1000  # Python 3.12 freezes some itself
PrometheusWorker.setup()
frozen = gc.get_freeze_count()
assert frozen > len(gc.get_objects()), (frozen, len(gc.get_objects()))
class Application: pass
one = Application(); one.itself = one
PrometheusWorker.setup()
assert gc.get_freeze_count() <= frozen
del one
assert gc.collect() > 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_changes_nothing_and_opens_nothing():
    code = """
import importlib, logging, os, pkgutil, threading
import gunicorn.arbiter, gunicorn.config, gunicorn.http.body
from gunicorn.http import wsgi
from gunicorn.workers import base, gthread, sync
import prometheus_client
modules = (gunicorn.arbiter.Arbiter, gunicorn.config.Config, base.Worker, sync.SyncWorker,
           gthread.ThreadWorker, wsgi.Response, wsgi, gunicorn.http.body, prometheus_client.values)
def state():
    return [dict(vars(each)) for each in modules], len(os.listdir("/proc/self/fd")), \\
        threading.active_count(), list(logging.root.handlers)
before = state()
import gunicorn_prometheus_workers as package
names = [module.name for module in pkgutil.iter_modules(package.__path__)]
from gunicorn_prometheus_core.errors import MissingPart
for name in names:
    try: importlib.import_module(f"{package.__name__}.{name}")
    except MissingPart: pass
assert state() == before
print(*names)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {"mixin", "sync", "gthread", "requests"} < set(done.stdout.split())
