"""The documented worker families are sums of what the workers recorded."""

import itertools
import math
import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.derive import Derivation
from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.recording import sample_keys
from gunicorn_prometheus_core.storage import Process
from gunicorn_prometheus_core.text import OPENMETRICS_1_0_0, TEXT_0_0_4

ROUTES = list(itertools.product(["GET", "POST"], ["/", "/a", "_other_"]))
COARSE = {
    c.WORKER_DURATION: c.HTTP_DURATION,
    c.WORKER_REQUEST_SIZE: c.HTTP_REQUEST_SIZE,
    c.WORKER_RESPONSE_SIZE: c.HTTP_RESPONSE_SIZE,
}


@pytest.fixture
def server(folder):
    """Two workers and a master."""
    folder.roles = {
        "worker-0": ("worker", "0"),
        "worker-1": ("worker", "1"),
        "master-0": ("master", "0"),
    }
    return folder


def record(folder, process, kind, family, labels, values):
    for key, value in zip(sample_keys(family, labels), values, strict=True):
        folder.write_key(process, kind, key.decode(), value)


def record_requests(folder, seed=0):
    """Random histograms of both workers; gives the worker, family, bounds and sum of each."""
    rng = random.Random(seed)
    recorded = []
    for worker, (method, endpoint) in itertools.product("01", ROUTES):
        for family in COARSE.values():
            statuses = ["200", "500"] if "status" in family.labels else [None]
            for status in statuses:
                labels = {"method": method, "endpoint": endpoint}
                labels |= {"status": status} if status else {}
                counts = [rng.randrange(4) for _ in range(len(family.buckets) + 1)]
                total = rng.randrange(1000) / 8
                record(folder, f"worker-{worker}", "histogram", family, labels, [total, *counts])
                bounds = dict(zip((*family.buckets, math.inf), counts, strict=True))
                recorded.append((worker, family, bounds, total))
    return recorded


def test_a_wrong_bit_in_a_key_of_ours_costs_no_scrape(server):
    """All that is said of a page whose bytes can still be one."""
    record_requests(server)
    record(server, "worker-0", "gauge_liveall", c.WORKER_STATE, {"state": "idle"}, [1000.0])
    exits = {"worker_id": "0", "cause": "crash"}
    record(server, "master-0", "counter", c.WORKER_EXITS, exits, [2.0])
    whole = Exposition(server).render(TEXT_0_0_4)
    labels = {"method": "GET", "endpoint": "/", "status": "200"}
    for process, kind, family, facts, wrong in (
        ("worker-0", "histogram", c.HTTP_DURATION, labels, ('"le": "10.0"', '"le": "10*0"')),
        ("worker-0", "gauge_liveall", c.WORKER_STATE, {"state": "idle"}, ("state", "stbte")),
        ("master-0", "counter", c.WORKER_EXITS, exits, ("cause", "cbuse")),
    ):
        damaged = {key.decode().replace(*wrong) for key in sample_keys(family, facts)}
        damaged -= {key.decode() for key in sample_keys(family, facts)}
        assert damaged
        for key in damaged:
            server.write_key(process, kind, key, 1.0)
    derived = [line for line in whole.splitlines() if line.startswith(b"gunicorn_worker_")]
    assert len(derived) > 20
    assert set(derived) <= set(Exposition(server).render(TEXT_0_0_4).splitlines())


@pytest.mark.parametrize("coarse", COARSE, ids=lambda family: family.name)
def test_a_workers_histogram_is_the_sum_of_its_recorded_ones(server, samples, coarse):
    counts, totals = defaultdict(Counter), Counter()
    for worker, family, bounds, total in record_requests(server):
        if family is COARSE[coarse]:
            counts[worker].update(bounds)
            totals[worker] += total
    found = samples(Exposition(server).render(TEXT_0_0_4))
    buckets = found[f"{coarse.name}_bucket"]
    assert [(given["worker_id"], float(given["le"]), value) for given, value in buckets] == [
        (worker, at_most, sum(n for bound, n in counts[worker].items() if bound <= at_most))
        for worker in "01"
        for at_most in (*coarse.buckets, math.inf)
    ]
    assert found[f"{coarse.name}_count"] == [
        ({"worker_id": worker}, sum(counts[worker].values())) for worker in "01"
    ]
    assert found[f"{coarse.name}_sum"] == [({"worker_id": w}, totals[w]) for w in "01"]


def test_a_workers_requests_and_busy_time_are_sums_of_the_durations(server, samples):
    handled, busy = Counter(), Counter()
    for worker, family, bounds, total in record_requests(server):
        if family is c.HTTP_DURATION:
            handled[worker] += sum(bounds.values())
            busy[worker] += total
    found = samples(Exposition(server).render(TEXT_0_0_4))
    assert found[c.WORKER_REQUESTS.name] == [({"worker_id": w}, handled[w]) for w in "01"]
    assert found[c.WORKER_BUSY.name] == [({"worker_id": w}, busy[w]) for w in "01"]


def test_the_totals_of_all_workers_are_those_of_the_server(server, samples):
    record_requests(server)
    found = samples(Exposition(server).render(TEXT_0_0_4))
    for coarse, fine in COARSE.items():
        for suffix in ("_count", "_sum"):
            by_worker, by_route = (found[family.name + suffix] for family in (coarse, fine))
            assert sum(v for _, v in by_worker) == sum(v for _, v in by_route) > 0


@pytest.mark.parametrize("family", [c.WORKER_FAILED, c.WORKER_ERRORS], ids=lambda f: f.name)
def test_errors_are_given_per_worker_under_their_documented_name(server, samples, family):
    for worker, value in (("0", 3), ("1", 4)):
        for error in ("KeyError", "OSError"):
            labels = {"method": "GET", "endpoint": "/", "error_type": error}
            record(server, f"worker-{worker}", "counter", family, labels, [value])
    text = Exposition(server).render(TEXT_0_0_4)
    assert f"# TYPE {family.name} counter\n".encode() in text
    assert f"\n{family.name}{{".encode() in text
    # The parser of prometheus_client adds what it misses.
    found = samples(text)[f"{family.name}_total"]
    assert sorted((given["worker_id"], given["error_type"], value) for given, value in found) == [
        ("0", "KeyError", 3),
        ("0", "OSError", 3),
        ("1", "KeyError", 4),
        ("1", "OSError", 4),
    ]
    assert all(set(given) == set(family.labels) for given, _ in found)


def test_new_routes_join_the_sums(server, samples):
    exposition = Exposition(server)
    for i in range(1, 4):
        labels = {"method": "GET", "endpoint": f"/{i}", "status": "200"}
        record(server, "worker-0", "histogram", c.HTTP_DURATION, labels, [0.5] + [1] * 17)
        found = samples(exposition.render(TEXT_0_0_4))
        assert found[c.WORKER_REQUESTS.name] == [({"worker_id": "0"}, 17 * i)]
        assert found[c.WORKER_BUSY.name] == [({"worker_id": "0"}, 0.5 * i)]


def test_series_under_the_help_text_of_another_version_count_too(server, samples):
    """A USR2 upgrade of this package continues the pages of the version before."""
    labels = {"method": "GET", "endpoint": "/"}
    error = labels | {"error_type": "OSError"}
    for help_text in ("As it was.", "As it is."):
        family = replace(c.HTTP_DURATION, help=help_text)
        given = [0.5] + [1] * 17
        record(server, "worker-0", "histogram", family, labels | {"status": "200"}, given)
        record(server, "worker-0", "counter", replace(c.WORKER_FAILED, help=help_text), error, [2])
        exits = replace(c.WORKER_EXITS, help=help_text)
        record(server, "master-0", "counter", exits, {"worker_id": "0", "cause": "crash"}, [1])
    found = samples(Exposition(server).render(TEXT_0_0_4))
    assert found[c.WORKER_REQUESTS.name] == [({"worker_id": "0"}, 34)]
    assert found[f"{c.WORKER_DURATION.name}_count"] == [({"worker_id": "0"}, 34)]
    assert found[f"{c.WORKER_DURATION.name}_sum"] == [({"worker_id": "0"}, 1)]
    assert found[f"{c.WORKER_FAILED.name}_total"] == [({"worker_id": "0", **error}, 4)]
    assert [value for _, value in found[c.WORKER_RESTARTS.name]] == [2]


@pytest.mark.parametrize(("cause", "restart_type"), c.RESTART_TYPES.items())
def test_the_documented_restart_families_count_the_exits(server, samples, cause, restart_type):
    record(server, "master-0", "counter", c.WORKER_EXITS, {"worker_id": "3", "cause": cause}, [5])
    found = samples(Exposition(server).render(TEXT_0_0_4))
    exits = {"worker_id": "3", "cause": cause}
    restart = {"worker_id": "3", "reason": cause}
    assert found[c.WORKER_EXITS.name] == [(exits, 5)]
    assert found[c.WORKER_RESTARTS.name] == [(restart, 5)]
    restart["restart_type"] = restart_type
    assert found[c.WORKER_RESTART_COUNT.name] == [(restart, 5)]
    assert found[c.MASTER_RESTART_COUNT.name] == [(restart, 5)]


def test_exits_seen_by_two_masters_add_up(server, samples):
    server.roles["master-1"] = ("master", "1")
    for master in ("master-0", "master-1"):
        exits = {"worker_id": "0", "cause": "crash"}
        record(server, master, "counter", c.WORKER_EXITS, exits, [2])
    found = samples(Exposition(server).render(TEXT_0_0_4))
    assert [value for _, value in found[c.WORKER_RESTARTS.name]] == [4]


def test_per_worker_gauges_end_with_the_worker(server, samples):
    for worker in ("worker-0", "worker-1"):
        record(server, worker, "gauge_liveall", c.WORKER_IN_PROGRESS, {}, [1])
        record(server, worker, "gauge_liveall", c.WORKER_CAPACITY, {}, [4])
    server.dead = {"worker-0"}
    found = samples(Exposition(server).render(TEXT_0_0_4))
    assert found[c.WORKER_IN_PROGRESS.name] == [({"worker_id": "1"}, 1)]
    assert found[c.WORKER_CAPACITY.name] == [({"worker_id": "1"}, 4)]


def test_what_a_worker_says_of_its_start_and_timeout_is_given(server, samples):
    for worker, family, value in [
        ("worker-0", c.WORKER_BOOT, 1.5),
        ("worker-0", c.WORKER_TIMEOUT, 30),
        ("worker-1", c.WORKER_BOOT, 2.5),
    ]:
        record(server, worker, "gauge_liveall", family, {}, [value])
    found = samples(Exposition(server).render(TEXT_0_0_4))
    assert found[c.WORKER_BOOT.name] == [({"worker_id": "0"}, 1.5), ({"worker_id": "1"}, 2.5)]
    assert found[c.WORKER_TIMEOUT.name] == [({"worker_id": "0"}, 30)]


def test_the_age_of_a_heartbeat_is_that_at_the_scrape(server):
    record(server, "worker-0", "gauge_liveall", c.WORKER_HEARTBEAT, {}, [1000.0])
    record(server, "worker-1", "gauge_liveall", c.WORKER_HEARTBEAT, {}, [1013.0])
    derivation = Derivation(clock=lambda: 1012.5)
    (metric,) = (
        metric
        for metric in derivation.families(server.collect(), server.processes())
        if metric.name == c.WORKER_HEARTBEAT.name
    )
    ages = {sample.labels["worker_id"]: sample.value for sample in metric.samples}
    # A clock that has been set back makes nobody younger than that.
    assert ages == {"0": 12.5, "1": 0.0}


def test_of_workers_of_one_number_on_several_hosts_the_worst_is_given(server):
    record(server, "worker-0", "gauge_liveall", c.WORKER_HEARTBEAT, {}, [1000.0])
    record(server, "worker-0", "gauge_liveall", c.WORKER_TIMEOUT, {}, [30])
    record(server, "worker-1", "gauge_liveall", c.WORKER_HEARTBEAT, {}, [1010.0])
    record(server, "worker-1", "gauge_liveall", c.WORKER_TIMEOUT, {}, [30])
    derivation = Derivation(clock=lambda: 1012.0)
    hosts = [
        replace(one, instance=one.process.name, process=replace(one.process, number="0"))
        for one in server.collect()
    ]
    found = {
        metric.name: [sample.value for sample in metric.samples]
        for metric in derivation.families(hosts, server.processes())
    }
    assert found[c.WORKER_TIMEOUT.name] == [30]
    assert found[c.WORKER_HEARTBEAT.name] == [12]


def test_only_the_state_entered_last_is_given(server, samples):
    for state, since in (("running", 100.7), ("quitting", 200.2)):
        record(server, "worker-0", "gauge_liveall", c.WORKER_STATE, {"state": state}, [since])
    found = samples(Exposition(server).render(TEXT_0_0_4))
    labels = {"worker_id": "0", "state": "quitting", "timestamp": "200"}
    assert found[c.WORKER_STATE.name] == [(labels, 1)]


def test_a_worker_that_is_gone_has_stopped_whatever_it_said_last(server, samples):
    record(server, "worker-0", "gauge_liveall", c.WORKER_STATE, {"state": "running"}, [100])
    server.process = lambda name: Process(name, "worker", "0", alive=False, ended=160.9)
    found = samples(Exposition(server).render(TEXT_0_0_4))
    labels = {"worker_id": "0", "state": "stopped", "timestamp": "160"}
    assert found[c.WORKER_STATE.name] == [(labels, 0)]


def test_workers_alive_and_their_uptime():
    processes = [
        Process("worker-0", "worker", "0", alive=True, started=90.0),
        Process("worker-1", "worker", "1", alive=True, started=100.5),
        Process("worker-2", "worker", "2", alive=False, started=50.0),
        Process("worker-3", "worker", "3", alive=True),
        Process("master-0", "master", "0", alive=True, started=80.0),
    ]
    families = Derivation(clock=lambda: 100.0).families([], processes)
    given = {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in families
    }
    # The clock of a worker may be ahead of ours.
    assert given == {
        c.WORKERS.name: [({}, 3)],
        c.WORKER_UPTIME.name: [({"worker_id": "0"}, 10.0), ({"worker_id": "1"}, 0.0)],
    }


def test_what_an_application_records_under_our_names_is_not_a_workers(folder, samples):
    labels = {"method": "GET", "endpoint": "/", "status": "200"}
    record(folder, "123", "histogram", c.HTTP_DURATION, labels, [0.5] + [1] * 17)
    found = samples(Exposition(folder).render(TEXT_0_0_4))
    assert c.WORKER_REQUESTS.name not in found
    assert f"{c.HTTP_DURATION.name}_count" in found


def test_everything_together_is_valid_openmetrics(server):
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    record_requests(server)
    error = {"method": "GET", "endpoint": "/", "error_type": "OSError"}
    record(server, "worker-0", "counter", c.WORKER_FAILED, error, [2])
    record(server, "worker-0", "gauge_liveall", c.WORKER_STATE, {"state": "running"}, [1e9])
    exits = {"worker_id": "0", "cause": "crash"}
    record(server, "master-0", "counter", c.WORKER_EXITS, exits, [1])
    text = Exposition(server).render(OPENMETRICS_1_0_0).decode()
    families = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert families["gunicorn_worker_requests"] == "counter"
    # A counter without _total can't be a counter there.
    assert families["gunicorn_worker_failed_requests"] == "unknown"
