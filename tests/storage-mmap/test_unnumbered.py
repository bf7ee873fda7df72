"""Info, Enum, removal and functions of prometheus_client's metrics, over several processes."""

import os
import time

import pytest
from prometheus_client.metrics import MetricWrapperBase

from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.text import OPENMETRICS_1_0_0, TEXT_0_0_4
from gunicorn_prometheus_storage_mmap.backend import MmapStorage

METRICS = """
from prometheus_client import Counter, Enum, Gauge, Histogram, Info, Summary
import logging
logging.basicConfig(format="%(message)s", stream=sys.stdout)
jobs = Counter("jobs", "help", ["q"])
depth = Gauge("depth", "help", ["q"], multiprocess_mode="sum")
least = Gauge("least", "help", ["q"], multiprocess_mode="min")
recent = Gauge("recent", "help", ["q"], multiprocess_mode="mostrecent")
each = Gauge("each", "help", ["q"], multiprocess_mode="all")
took = Histogram("took", "help", ["q"], buckets=[1, 2])
size = Summary("size", "help", ["q"])
build = Info("build", "help")
part = Info("part", "help", ["name"])
phase = Enum("phase", "help", states=["starting", "running", "stopping"])
step = Enum("step", "help", ["name"], states=["a", "b"])
def use(label, amount=1):
    jobs.labels(label).inc(amount)
    for gauge in (depth, least, recent, each): gauge.labels(label).set(amount)
    took.labels(label).observe(amount)
    size.labels(label).observe(amount)
def obey():
    for line in sys.stdin:
        try:
            exec(line, globals())
            say("done")
        except Exception as error:
            say(type(error).__name__)
"""
PROCESS = METRICS + "recorder = activate()\nsay(recorder.process)\nobey()"
EVERYTHING = {"jobs", "depth", "least", "recent", "each", "took", "size"}


@pytest.fixture
def process(directory, start):
    """Starts processes that do as they are told. Their end is noted, as the master does."""

    def begin(code=PROCESS):
        script = start(code, directory)
        script.name = script.line()

        def do(line, said="done"):
            script.tell(line)
            assert script.line() == said

        def end():
            script.kill()
            # The system's own time of a file is some milliseconds behind.
            now = time.time()
            os.utime(os.path.join(directory, f"{script.name}.slot"), (now, now))

        script.do, script.end = do, end
        return script

    return begin


@pytest.fixture
def shown(directory):
    """The samples of the application's metrics, of one exposition after the other."""
    storage = MmapStorage(directory)
    exposition = Exposition(storage)

    def read(form=TEXT_0_0_4):
        lines = exposition.render(form).decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in samples if not name.startswith("gunicorn_")}

    yield read
    storage.close()


def families(samples, label):
    return {
        name.partition("_" if name.startswith(("jobs", "took", "size")) else "{")[0]
        for name in samples
        if f'q="{label}"' in name
    }


def test_an_info_says_what_any_process_said_last(process, shown):
    first, second = process(), process()
    assert shown()["build_info"] == 1
    first.do('build.info({"version": "1", "by": "x"}); part.labels("db").info({"v": "3"})')
    second.do('build.info({"version": "2"})')
    infos = {name for name in shown() if "_info" in name}
    assert infos == {'build_info{version="2"}', 'part_info{name="db",v="3"}'}
    first.do('build.info({"version": "1"})')
    first.end()
    assert 'build_info{version="1"}' in shown()


def test_an_enum_is_in_the_state_that_any_process_set_last(process, shown):
    first, second = process(), process()

    def state():
        found = {name: value for name, value in shown().items() if name.startswith("phase")}
        assert len(found) == 3
        return [name for name, value in found.items() if value]

    assert state() == ['phase{phase="starting"}']
    first.do('phase.state("running")')
    assert state() == ['phase{phase="running"}']
    second.do('phase.state("stopping"); step.labels("x").state("b")')
    assert state() == ['phase{phase="stopping"}']
    assert shown()['step{name="x",step="b"}'] == 1
    first.do('phase.state("elsewhere")', said="ValueError")
    assert state() == ['phase{phase="stopping"}']
    # Who begins says nothing yet, whether it has its slot before it has its metrics or after.
    second.end()
    third = process()
    assert third.name == second.name
    assert state() == ['phase{phase="stopping"}']
    third.end()
    assert process("recorder = activate()\n" + METRICS + "say(recorder.process)\nobey()")
    assert state() == ['phase{phase="stopping"}']


def test_in_openmetrics_they_have_types_of_their_own(process, directory):
    process().do('build.info({"version": "2"}); phase.state("running")')
    text = Exposition(MmapStorage(directory)).render(OPENMETRICS_1_0_0).decode()
    assert '# TYPE build info\nbuild_info{version="2"} 1.0\n' in text
    assert "# TYPE phase stateset\n" in text


def test_what_was_said_before_activation_counts(process, shown):
    said = (
        'build.info({"version": "7"}); phase.state("running"); depth.labels("f").set_function(len)'
    )
    script = METRICS + said + "\nrecorder = activate()\nsay(recorder.process)\nobey()"
    process(script)
    assert shown()['build_info{version="7"}'] == shown()['phase{phase="running"}'] == 1


def test_a_series_is_gone_when_no_living_process_has_it(process, shown):
    first, second = process(), process()
    for one in (first, second):
        one.do('use("x", 2); use("y", 2)')
    before = {name: value for name, value in shown().items() if 'q="y"' in name}
    remove = 'for m in (jobs, depth, least, recent, each, took, size): m.remove("x")'
    first.do(remove)
    # What is summed up stays complete as long as anybody goes on counting.
    assert families(shown(), "x") == EVERYTHING
    assert shown()['jobs_total{q="x"}'] == 4
    assert shown()['depth{q="x"}'] == 2
    assert [name for name in shown() if name.startswith("each") and 'q="x"' in name] == [
        f'each{{pid="{second.name}",q="x"}}'
    ]
    second.do("jobs.labels('x').inc()")
    assert shown()['jobs_total{q="x"}'] == 5
    second.do(remove)
    assert families(shown(), "x") == set()
    assert {name: value for name, value in shown().items() if 'q="y"' in name} == before


def test_a_series_that_comes_again_goes_on_and_never_falls(process, shown):
    one = process()
    one.do('use("x", 2); jobs.remove("x"); depth.remove("x"); took.remove("x")')
    assert families(shown(), "x") == EVERYTHING - {"jobs", "depth", "took"}
    one.do('jobs.labels("x").inc(3); depth.labels("x").inc(); took.labels("x").observe(9)')
    assert shown()['jobs_total{q="x"}'] == 5
    assert shown()['took_count{q="x"}'] == 2
    assert shown()['depth{q="x"}'] == 1  # a gauge begins anew


def test_clear_removes_all_and_new_ones_can_follow(process, shown):
    one = process()
    one.do('use("x"); use("y"); part.labels("a").info({}); part.labels("b").info({})')
    one.do("for m in (jobs, depth, least, recent, each, took, size, part): m.clear()")
    assert not [name for name in shown() if "q=" in name or name.startswith("part")]
    one.do('use("z"); part.labels("b").info({"v": "1"})')
    assert families(shown(), "z") == EVERYTHING
    assert 'part_info{name="b",v="1"}' in shown()


def test_removing_by_some_of_the_labels(process, shown):
    one = process()
    one.do('pairs = Counter("pairs", "help", ["a", "b"])')
    one.do("[pairs.labels(a, b).inc() for a in '12' for b in '34']")
    if hasattr(MetricWrapperBase, "remove_by_labels"):
        one.do('pairs.remove_by_labels({"a": "1"})')
    else:  # before version 0.24
        one.do('pairs.remove("1", "3"); pairs.remove("1", "4")')
    assert {name for name in shown() if name.startswith("pairs")} == {
        'pairs_total{a="2",b="3"}',
        'pairs_total{a="2",b="4"}',
    }


def test_the_dead_keep_what_they_had_and_their_successors_have_not_removed_it(process, shown):
    first, second = process(), process()
    for one in (first, second):
        one.do('jobs.labels("x").inc(); jobs.labels("y").inc(); depth.labels("x").set(1)')
    first.do('jobs.remove("x")')
    second.end()
    # Nobody has removed it since its end.
    assert shown()['jobs_total{q="x"}'] == 2
    third = process()
    assert third.name == second.name
    assert shown()['jobs_total{q="x"}'] == 2
    first.do('jobs.labels("x").inc(); jobs.remove("x")')
    # The successor doesn't know of it, so nobody has it.
    assert 'jobs_total{q="x"}' not in shown()
    assert shown()['jobs_total{q="y"}'] == 2
    third.do('jobs.labels("x").inc()')
    assert shown()['jobs_total{q="x"}'] == 4
    # Its end is later than the removal by the other one.
    third.end()
    assert process().name == second.name
    assert shown()['jobs_total{q="x"}'] == 4


def test_a_removed_gauge_does_not_come_back_by_its_process_end(process, shown):
    one = process()
    one.do('use("x", 5); [m.remove("x") for m in (depth, least, recent, each)]')
    one.end()
    process().do('use("y", 7)')
    assert families(shown(), "x") == {"jobs", "took", "size"}
    assert shown()['least{q="y"}'] == 7


def test_a_forked_child_has_what_its_parent_has(process, shown):
    one = process()
    one.do('use("x"); use("y"); jobs.remove("y"); use("z")')
    one.do("""in_child(lambda: [use("x"), jobs.remove("x"), jobs.labels("z").inc()])""")
    assert shown()['jobs_total{q="x"}'] == 2
    assert 'jobs_total{q="y"}' not in shown()
    one.do('jobs.remove("x")')
    assert 'jobs_total{q="x"}' not in shown()
    assert shown()['jobs_total{q="z"}'] == 2


def test_removal_survives_growth_and_a_new_file(process, shown, directory):
    one = process()
    one.do('use("x"); jobs.remove("x")')
    one.do("[jobs.labels(str(n)).inc() for n in range(500)]")
    assert 'jobs_total{q="x"}' not in shown()
    os.unlink(os.path.join(directory, "counter_worker-0.db"))
    one.do("recorder.tick()")
    assert 'jobs_total{q="x"}' not in shown()
    assert shown()['jobs_total{q="7"}'] == 1


def test_functions_are_called_at_ticks(process, shown):
    one = process()
    one.do(
        "depth.labels('f').set_function(lambda: 42); recent.labels('f').set_function(lambda: 43)"
    )
    one.do("recorder.tick()")
    assert shown()['depth{q="f"}'] == 42
    assert shown()['recent{q="f"}'] == 43
    one.do("depth.labels('f').set_function(lambda: 44); recorder.tick()")
    assert shown()['depth{q="f"}'] == 44
    one.do("depth.remove('f'); recorder.tick()")
    assert 'depth{q="f"}' not in shown()


def test_a_function_that_fails_or_takes_long_is_logged_once(process, shown):
    one = process()
    one.do("depth.labels('f').set_function(lambda: 1 / 0)")
    one.tell("recorder.tick(); recorder.tick()")
    said = []
    while (line := one.line()) != "done":
        said.append(line)
    assert said[0] == "the function of the gauge depth failed; it keeps its value"
    assert sum("failed" in line for line in said) == 1
    one.do("errors = [k for k in recorder.keys('counter') if b'recording_errors' in k]")
    one.do("cells = recorder.cells('counter', errors); assert cells.page.view[cells.at[0]] == 2")
    one.do("least.labels('f').set_function(lambda: time.sleep(0.15) or 2)")
    one.tell("recorder.tick(); recorder.tick()")
    assert one.line().startswith("the function of the gauge least took 0.")
    assert one.line() == "done"
    assert shown()['least{q="f"}'] == 2


def test_functions_are_not_called_in_a_master(process, shown):
    one = process(PROCESS.replace("activate()", 'activate("master")'))
    one.do("depth.labels('f').set_function(lambda: 42); recorder.tick()")
    assert shown()['depth{q="f"}'] == 0


def test_what_metrics_say_in_their_own_process_is_unchanged(process):
    one = process()
    one.do("from prometheus_client import generate_latest, REGISTRY")
    one.do('use("x"); jobs.remove("x"); build.info({"a": "b"}); phase.state("running")')
    one.do("jobs.labels('e').inc(1, exemplar={'trace_id': 'abc'})")
    one.do("depth.labels('f').set_function(lambda: 42)")
    one.do("text = generate_latest(REGISTRY).decode()")
    one.do("""assert 'jobs_total{q="x"}' not in text and 'build_info{a="b"} 1.0' in text""")
    one.do("""assert 'phase{phase="running"} 1.0' in text and 'depth{q="f"} 42.0' in text""")
    one.do("from prometheus_client.openmetrics import exposition")
    one.do("text = exposition.generate_latest(REGISTRY).decode()")
    one.do("""assert 'jobs_total{q="e"} 1.0 # {trace_id="abc"} 1.0' in text, text""")
    one.do('jobs.remove("x", "y")', said="ValueError")


def test_removal_warns_no_more_that_it_is_not_implemented(directory, run):
    # Warnings are errors in scripts.
    run(
        METRICS + 'activate()\nuse("x"); jobs.remove("x"); jobs.clear()',
        directory,
        env={"PROMETHEUS_MULTIPROC_DIR": directory},
    )
