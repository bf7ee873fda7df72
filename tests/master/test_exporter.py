import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time

import pytest

from gunicorn_prometheus_core import configuration, listening, plugins
from gunicorn_prometheus_core.errors import SettingsError
from gunicorn_prometheus_core.listening import Address
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_master import exporter as exporter_module
from gunicorn_prometheus_master import reconfiguring

NOBODY = 65534


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(exporter_module, "_BIND_RETRY_SECONDS", 0.05)


@pytest.fixture
def facts(ask, free_port):
    def read(port=free_port):
        return json.loads(ask(port))

    return read


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# Other settings


@pytest.mark.usefixtures("server")
def test_with_other_settings_another_process_takes_its_place_at_once(
    make_exporter, facts, free_port, until, counts
):
    exporter = make_exporter()
    exporter.tend()
    first = facts()["pid"]
    changed = Settings(bind_address="127.0.0.1", metrics_port=free_port, redis_password="s3cret")
    exporter.reconfigure(changed)
    until(lambda: exporter.tend() or exporter.pid not in (0, first))
    served = facts()
    assert served["pid"] == exporter.pid
    assert Settings.loads(served["settings"]) == changed
    assert "s3cret" not in " ".join(served["argv"])
    assert is_gone(first)
    assert counts.restarts == 0


@pytest.mark.usefixtures("server")
def test_with_another_address_the_endpoint_moves(make_exporter, facts, free_port, ask, until):
    exporter = make_exporter()
    exporter.tend()
    first = facts()["pid"]
    with socket.create_server(("127.0.0.1", 0)) as other:
        elsewhere = other.getsockname()[1]
    exporter.reconfigure(Settings(bind_address="127.0.0.1", metrics_port=elsewhere))
    until(lambda: exporter.tend() or exporter.pid not in (0, first))
    assert facts(elsewhere)["pid"] == exporter.pid
    with pytest.raises(ConnectionRefusedError):
        ask(free_port)


@pytest.mark.usefixtures("server")
def test_where_another_address_cannot_be_had_the_endpoint_stays(
    make_exporter, facts, logged, counts, until
):
    exporter = make_exporter()
    exporter.tend()
    first = facts()["pid"]
    with socket.create_server(("127.0.0.1", 0)) as other:
        exporter.reconfigure(
            Settings(bind_address="127.0.0.1", metrics_port=other.getsockname()[1])
        )
        until(lambda: exporter.tend() or exporter.pid not in (0, first))
        assert facts()["pid"] == exporter.pid
    (error,) = [record for record in logged if record.levelname == "ERROR"]
    assert error.getMessage().endswith("it stays where it is")
    assert counts.bind_failures == 1


@pytest.mark.usefixtures("server")
def test_where_another_address_could_not_be_served_the_endpoint_stays(
    make_exporter, facts, logged, counts, monkeypatch, until
):
    """A certificate can be replaced between its being checked and its being used."""
    exporter = make_exporter()
    exporter.tend()
    first = facts()["pid"]

    def scheme(settings):
        raise SettingsError("no key")

    monkeypatch.setattr(reconfiguring, "scheme", scheme)
    exporter.reconfigure(Settings(bind_address="127.0.0.2"))
    until(lambda: exporter.tend() or exporter.pid not in (0, first))
    assert facts()["pid"] == exporter.pid
    (error,) = [record for record in logged if record.levelname == "ERROR"]
    assert error.getMessage().endswith("no key; it stays where it is")
    assert counts.bind_failures == 1


def test_a_reload_checks_what_will_be_in_force(monkeypatch, logged):
    """A server that serves metrics goes on to, whatever a reload says of sidecars."""
    checked = []
    monkeypatch.setattr(reconfiguring, "scheme", checked.append)
    monkeypatch.setattr(configuration, "put_in_force", checked.append)
    monkeypatch.setattr(plugins, "backend", checked.append)
    monkeypatch.setenv("SIDECAR_MODE", "true")
    before = Settings()
    after = reconfiguring.again(before, os.geteuid(), os.getegid())
    assert not after.sidecar_mode
    assert checked == [after, after, after]
    assert [record.levelname for record in logged] == ["WARNING"]


# Starting


@pytest.mark.usefixtures("server")
def test_it_binds_starts_and_serves_at_once(make_exporter, facts, free_port, tmp_path, logged):
    exporter = make_exporter()
    assert exporter.pid == 0
    exporter.tend()
    served = facts()
    assert served["pid"] == exporter.pid
    assert dict(zip(served["argv"][::2], served["argv"][1::2], strict=True)) == {
        "--fd": str(exporter.listeners[0].fileno()),
        "--directory": str(tmp_path / "pages"),
        "--parent": str(os.getpid()),
        "--settings": "0",
    }
    assert Settings.loads(served["settings"]).metrics_port == free_port
    messages = [record.getMessage() for record in logged]
    assert messages == [
        f"Metrics at: http://127.0.0.1:{free_port}/metrics",
        f"Exporter process: {exporter.pid}",
    ]


@pytest.mark.usefixtures("server")
def test_tending_again_changes_nothing(make_exporter, facts):
    exporter = make_exporter()
    exporter.tend()
    pid = exporter.pid
    for _ in range(10):
        exporter.tend()
    assert facts()["pid"] == pid


@pytest.mark.usefixtures("server")
def test_the_process_inherits_its_socket_and_nothing_else(make_exporter, facts):
    fd = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(fd, True)
    exporter = make_exporter()
    exporter.tend()
    served = facts()
    os.close(fd)
    # Besides the socket: standard streams, the connection, and the listing itself.
    assert set(served["fds"]) - {0, 1, 2} >= {exporter.listeners[0].fileno()}
    assert len(served["fds"]) == 6


@pytest.mark.usefixtures("server")
def test_the_process_has_its_own_session_and_ignores_the_working_directory(make_exporter, facts):
    exporter = make_exporter()
    exporter.tend()
    served = facts()
    assert served["session"] == served["pid"]
    assert served["safe_path"] is (True if sys.version_info >= (3, 11) else None)


@pytest.mark.usefixtures("server")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python knows no PYTHONSAFEPATH")
def test_a_module_in_the_working_directory_takes_no_name_of_ours(
    make_exporter, facts, tmp_path, monkeypatch
):
    (tmp_path / "json.py").write_text("raise SystemExit('the application is imported')")
    monkeypatch.chdir(tmp_path)
    make_exporter().tend()
    assert facts()["pid"]


@pytest.mark.usefixtures("server")
def test_what_the_process_says_goes_to_the_error_log(make_exporter, facts, tmp_path):
    make_exporter().tend()
    facts()
    assert "stand-in begins" in (tmp_path / "log").read_text()


@pytest.mark.usefixtures("server")
@pytest.mark.skipif(os.geteuid() != 0, reason="changing users takes root")
def test_where_the_master_is_root_the_process_runs_as_the_workers_do(
    make_exporter, facts, monkeypatch
):
    # The interpreter that runs the tests may be one that only root can run.
    monkeypatch.setattr(sys, "executable", shutil.which("python3", path="/usr/bin:/bin"))
    exporter = make_exporter(uid=NOBODY, gid=NOBODY)
    exporter.tend()
    served = facts()
    assert (served["uid"], served["gid"]) == (NOBODY, NOBODY)


@pytest.mark.usefixtures("server")
@pytest.mark.skipif(os.geteuid() != 0, reason="changing users takes root")
def test_where_the_master_is_root_the_file_of_a_unix_socket_is_the_workers(make_exporter, tmp_path):
    path = tmp_path / "metrics.sock"
    make_exporter(f"unix:{path}", uid=NOBODY, gid=NOBODY).tend()
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)


@pytest.mark.usefixtures("no_server")
def test_without_a_distribution_that_serves_one_line_says_what_to_install(make_exporter, logged):
    exporter = make_exporter()
    for _ in range(3):
        exporter.tend()
    assert exporter.pid == 0
    messages = [record.getMessage() for record in logged if record.levelname != "INFO"]
    assert messages == [
        "metrics are recorded but not served: pip install gunicorn-prometheus-server"
    ]


# The port


@pytest.mark.usefixtures("server")
def test_a_taken_port_is_one_line_and_is_tried_again_until_it_is_free(
    make_exporter, facts, free_port, counts, logged, until
):
    with socket.create_server(("127.0.0.1", free_port)):
        exporter = make_exporter()
        until(lambda: exporter.tend() or counts.bind_failures >= 3)
        assert not exporter.listeners
        assert exporter.pid == 0
        (record,) = logged
        assert f"PROMETHEUS_METRICS_PORT={free_port}" in record.getMessage()
        assert "in use" in record.getMessage()
    until(lambda: exporter.tend() or exporter.pid)
    assert facts()["pid"] == exporter.pid


@pytest.mark.parametrize("address", ["203.0.113.77", "no.such.host.invalid"])
def test_an_address_that_is_not_ours_is_one_line(make_exporter, counts, logged, until, address):
    exporter = make_exporter(address=address)
    until(lambda: exporter.tend() or counts.bind_failures >= 2)
    (record,) = logged
    assert f"PROMETHEUS_BIND_ADDRESS={address}" in record.getMessage()


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


@pytest.mark.usefixtures("server")
@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_bound_and_shown_in_brackets(make_exporter, ask, free_port, logged):
    make_exporter(address="::1").tend()
    assert json.loads(ask(free_port, host="::1"))["pid"]
    assert f"http://[::1]:{free_port}/metrics" in logged[0].getMessage()


def test_a_socket_that_cannot_be_bound_leaves_no_descriptor(free_port):
    before = len(os.listdir("/proc/self/fd"))
    with socket.create_server(("127.0.0.1", free_port)):
        for _ in range(3):
            with pytest.raises(OSError, match="in use"):
                listening.listen([Address("127.0.0.1", free_port)])
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("server")
def test_an_inherited_socket_is_served(make_exporter, facts, free_port):
    (sock,) = listening.listen([Address("127.0.0.1", free_port)])
    exporter = make_exporter(inherited=[sock.detach()])
    exporter.tend()
    assert facts()["pid"] == exporter.pid
    assert not exporter.listeners[0].get_inheritable()


# Restarting


@pytest.mark.usefixtures("server")
def test_a_killed_process_is_started_again_with_the_same_socket_and_refuses_nobody(
    make_exporter, facts, counts, until
):
    exporter = make_exporter()
    exporter.tend()
    fd = exporter.listeners[0].fileno()
    seen, errors, stop = set(), [], threading.Event()

    def scrape_without_a_pause():
        while not stop.is_set():
            try:
                seen.add(facts()["pid"])
            except ValueError:
                pass  # answered by the process that was just killed
            except OSError as error:
                errors.append(error)

    scraper = threading.Thread(target=scrape_without_a_pause)
    scraper.start()
    try:
        for restarts in range(1, 4):
            former = exporter.pid
            until(lambda former=former: former in seen)
            os.kill(former, signal.SIGKILL)
            until(lambda n=restarts: exporter.tend() or counts.restarts >= n)
            until(lambda former=former: exporter.tend() or exporter.pid not in (0, former))
            until(lambda: exporter.pid in seen)
    finally:
        stop.set()
        scraper.join()
    assert errors == []
    assert counts.restarts == 3
    assert len(seen) == 4
    assert exporter.listeners[0].fileno() == fd


@pytest.mark.usefixtures("server")
def test_a_process_that_ends_again_and_again_is_started_ever_more_rarely(
    make_exporter, server, counts, until, logged
):
    (server / "__main__.py").write_text("raise SystemExit(1)")
    exporter = make_exporter()
    exporter.tend()

    def seen(restarts):
        """A moment before the end was seen that makes them so many."""
        before = time.monotonic()
        exporter.tend()
        return before if counts.restarts >= restarts else None

    pauses = []
    for restarts in range(1, 4):
        ended = until(lambda n=restarts: seen(n))
        until(lambda: exporter.tend() or exporter.pid)
        pauses.append(time.monotonic() - ended)
    assert all(pause >= wanted for pause, wanted in zip(pauses, (0.1, 0.2, 0.4), strict=True))
    warnings = [r.getMessage() for r in logged if "ended with status 1" in r.getMessage()]
    assert len(warnings) == 3


@pytest.mark.usefixtures("server")
def test_reaping_leaves_nothing_for_gunicorn_to_take_for_a_worker(
    make_exporter, ask, free_port, until
):
    exporter = make_exporter()
    exporter.tend()
    ask(free_port, b"end with 3")
    until(lambda: exporter.reap() or is_gone(exporter.pid))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.usefixtures("server")
def test_a_process_that_cannot_be_started_is_one_line_and_is_tried_again(
    make_exporter, facts, tmp_path, logged, until
):
    exporter = make_exporter()
    (tmp_path / "log").mkdir()
    until(lambda: exporter.tend() or len(logged) == 2)
    assert "can't start the exporter process" in logged[1].getMessage()
    assert exporter.pid == 0
    (tmp_path / "log").rmdir()
    until(lambda: exporter.tend() or exporter.pid)
    assert facts()["pid"] == exporter.pid
    assert [r.getMessage() for r in logged].count(logged[1].getMessage()) == 1


# Stopping


@pytest.mark.usefixtures("server")
def test_stopping_leaves_no_process_no_socket_and_no_descriptor(make_exporter, facts, free_port):
    before = len(os.listdir("/proc/self/fd"))
    exporter = make_exporter()
    exporter.tend()
    pid = facts()["pid"]
    exporter.stop()
    assert is_gone(pid)
    assert exporter.pid == 0
    assert not exporter.listeners
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ConnectionRefusedError):
        facts()
    exporter.stop()


@pytest.mark.usefixtures("server")
def test_stopping_kills_a_process_that_does_not_end(
    make_exporter, server, until, monkeypatch, tmp_path
):
    monkeypatch.setattr(exporter_module, "_STOP_SECONDS", 0.2)
    (server / "__main__.py").write_text(
        "import signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "while True: signal.pause()\n"
    )
    exporter = make_exporter()
    exporter.tend()
    pid = exporter.pid
    until(lambda: "deaf" in (tmp_path / "log").read_text())
    exporter.stop()
    assert is_gone(pid)


def test_stopping_what_never_started_is_nothing(make_exporter):
    make_exporter().stop()
