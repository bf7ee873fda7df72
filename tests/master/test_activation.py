import subprocess
import sys

import pytest


@pytest.fixture
def run_python():
    def run(code):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


#: An Arbiter that has not been started, and what Gunicorn asks of an application.
ARBITER = """
import sys
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config

class Application:
    cfg = Config()

class Started(Exception):
    pass

begun = []
def start(self):
    begun.append(type(self))
    raise Started
Arbiter.start = start
"""


def test_importing_changes_nothing(run_python):
    run_python(
        """
from gunicorn.arbiter import Arbiter
before = dict(vars(Arbiter))
import gunicorn_prometheus_master
from gunicorn_prometheus_master import PrometheusMaster, activation, arbiter, exits, exporter
assert dict(vars(Arbiter)) == before
"""
    )


def test_importing_the_sampling_does_not_load_gunicorn(run_python):
    run_python(
        """
import sys
from gunicorn_prometheus_master.sampling import ProcessCollector
assert not [name for name in sys.modules if name.partition(".")[0] == "gunicorn"]
"""
    )


def test_activating_again_changes_nothing(run_python):
    run_python(
        """
from gunicorn.arbiter import Arbiter
from gunicorn_prometheus_master.activation import activate
before = Arbiter.start
activate()
once = Arbiter.start
activate(); activate()
assert Arbiter.start is once is not before
assert once.__wrapped__ is before
"""
    )


def test_an_arbiter_that_starts_becomes_a_prometheus_master(run_python):
    run_python(
        ARBITER
        + """
from gunicorn_prometheus_master import PrometheusMaster
from gunicorn_prometheus_master.activation import activate
seen = []
PrometheusMaster.start = lambda self: seen.append(type(self))
activate()
arbiter = Arbiter(Application())
assert type(arbiter) is Arbiter
arbiter.start()
assert type(arbiter) is PrometheusMaster
assert seen == [PrometheusMaster]
"""
    )


def test_a_subclass_of_arbiter_stays_one(run_python):
    run_python(
        ARBITER
        + """
from gunicorn_prometheus_master import PrometheusMaster
class Theirs(Arbiter):
    def theirs(self): return "theirs"
arbiter = Theirs(Application())
PrometheusMaster.promote(arbiter)
assert isinstance(arbiter, PrometheusMaster) and isinstance(arbiter, Theirs)
assert arbiter.theirs() == "theirs"
assert type(arbiter).__mro__[1:3] == (PrometheusMaster, Theirs)
"""
    )


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PROMETHEUS_METRICS_PORT", "http", "PROMETHEUS_METRICS_PORT='http'"),
        ("GUNICORN_PROMETHEUS_STORAGE", "papyrus", "'papyrus'"),
        ("REDIS_ENABLED", "true", "pip install gunicorn-prometheus-storage-redis"),
    ],
)
def test_a_setting_that_cannot_be_used_ends_the_start_with_a_line(
    run_python, variable, value, said
):
    printed = run_python(
        ARBITER
        + f"""
import os
os.environ[{variable!r}] = {value!r}
from gunicorn_prometheus_master.activation import activate
activate()
arbiter = Arbiter(Application())
arbiter.log.error = lambda message, *details: print(message % details)
try:
    arbiter.start()
except SystemExit as end:
    assert end.code == 1
assert begun == []
"""
    )
    assert said in printed
    assert len(printed.splitlines()) == 1
