import os
import signal

import pytest
from gunicorn.arbiter import Arbiter

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_master import exits


def exit_with(status):
    return lambda: os._exit(status)


def die_by(number):
    def die():
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)

    return die


NORMAL, BOOT, LOAD = exit_with(0), exit_with(Arbiter.WORKER_BOOT_ERROR), exit_with(4)

TABLE = [
    # how it ended, what the master ordered, what it left in its slot, the cause
    (NORMAL, None, {}, "exit"),
    (NORMAL, None, {"exit": "max_requests"}, "max_requests"),
    (NORMAL, None, {"exit": "reload"}, "reload"),
    (NORMAL, "reload", {"exit": "max_requests"}, "reload"),
    (NORMAL, "scale_down", {}, "scale_down"),
    (NORMAL, "shutdown", {}, "shutdown"),
    (BOOT, None, {}, "boot_error"),
    (LOAD, None, {}, "load_error"),
    (exit_with(1), None, {}, "crash"),
    (exit_with(255), None, {"exit": "max_requests"}, "crash"),
    (die_by(signal.SIGKILL), None, {}, "killed"),
    (die_by(signal.SIGKILL), "timeout", {}, "timeout"),
    (die_by(signal.SIGABRT), "timeout", {}, "timeout"),
    (die_by(signal.SIGKILL), "shutdown", {}, "shutdown"),
    (die_by(signal.SIGSEGV), None, {}, "crash"),
    (die_by(signal.SIGTERM), None, {}, "crash"),
    (die_by(signal.SIGABRT), None, {}, "crash"),
]


@pytest.mark.parametrize(("end", "ordered", "noted", "cause"), TABLE)
def test_the_cause_of_an_exit(child, end, ordered, noted, cause):
    pid = child(end)
    ended = exits.wait(pid, 20)
    assert ended is not None
    assert exits.cause(ended, ordered, noted) == cause


@pytest.mark.parametrize(
    ("ordered", "noted", "cause"),
    [
        (None, {}, "unknown"),
        (None, {"exit": "max_requests"}, "max_requests"),
        ("timeout", {}, "timeout"),
    ],
)
def test_the_cause_of_an_exit_whose_status_was_lost(ordered, noted, cause):
    assert exits.cause(None, ordered, noted) == cause


def test_gunicorns_statuses_are_the_known_ones():
    assert (Arbiter.WORKER_BOOT_ERROR, Arbiter.APP_LOAD_ERROR) == (3, 4)


def test_every_cause_has_a_restart_type():
    assert {cause for *_, cause in TABLE} | {"unknown", "timeout"} == set(catalogue.RESTART_TYPES)


def test_peeking_leaves_the_child_to_be_reaped(child):
    pid = child(exit_with(7))
    assert exits.wait(pid, 20).si_status == 7
    assert exits.peek(pid).si_status == 7
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert exits.peek(pid) is None


def test_peeking_at_a_child_that_lives_gives_nothing(child):
    assert exits.peek(child(signal.pause)) is None


def test_peeking_at_who_is_no_child_gives_nothing():
    assert exits.peek(os.getppid()) is None


def test_waiting_for_a_child_that_lives_ends(child):
    assert exits.wait(child(signal.pause), 0.05) is None


def test_waiting_sees_a_child_that_is_killed(child):
    pid = child(signal.pause)
    os.kill(pid, signal.SIGKILL)
    assert exits.wait(pid, 20).si_status == signal.SIGKILL
