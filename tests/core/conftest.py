"""Processes that record with prometheus_client's own page files, as the oracle of the merge."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import defaultdict

import pytest
from prometheus_client import exposition, parser
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.utils import floatToGoString

from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.storage import Process, Snapshot
from gunicorn_prometheus_core.text import TEXT_0_0_4


class StockFile:
    """One file of prometheus_client's multiprocess mode, and how a backend would show it."""

    def __init__(self, path):
        self.path = path
        self.kind, _, self.process = path.stem.rpartition("_")
        self.stock = MmapedDict(str(path))
        self.keys, self.at = [], []

    def write(self, key, value, stamp=0.0):
        self.stock.write_value(key, value, stamp)

    def snapshot(self, process):
        positions = self.stock._positions
        for key in list(positions)[len(self.keys) :]:
            self.keys.append(key.encode())
            self.at.append(positions[key] // 8)
        values = memoryview(self.stock._m[:]).cast("d")
        return Snapshot(process, self.kind, self.keys, self.at, values)


class StockFolder:
    """A folder that processes record into; also a storage for an Exposition."""

    def __init__(self, path):
        self.path = path
        self.files = {}
        self.dead = set()
        self.roles = {}

    def write(self, process, kind, family, sample, labels, value, *, stamp=0.0, help="help"):
        """Set a value of a process to exactly this."""
        key = json.dumps([family, sample, labels, help], sort_keys=True)
        self.write_key(process, kind, key, value, stamp)

    def write_key(self, process, kind, key, value, stamp=0.0):
        name = f"{kind}_{process}.db"
        if name not in self.files:
            self.files[name] = StockFile(self.path / name)
        self.files[name].write(key, value, stamp)

    def observe(self, process, family, labels, buckets, total, **more):
        """Set a histogram of a process: count by upper bound, not cumulative, and the sum."""
        self.write(process, "histogram", family, f"{family}_sum", labels, total, **more)
        for bound, count in buckets.items():
            le = {**labels, "le": floatToGoString(bound)}
            self.write(process, "histogram", family, f"{family}_bucket", le, count, **more)

    def vanish(self, process):
        """A process is gone with all its pages."""
        for name in [name for name in self.files if name.endswith(f"_{process}.db")]:
            self.remove(name)

    def remove(self, name):
        file = self.files.pop(name)
        file.stock.close()
        file.path.unlink()

    def close(self):
        for name in list(self.files):
            self.remove(name)

    # What an Exposition wants of a storage

    def process(self, name):
        role, number = self.roles.get(name, ("other", name))
        return Process(name, role, number, alive=name not in self.dead)

    def collect(self):
        return [
            self.files[name].snapshot(self.process(self.files[name].process))
            for name in sorted(self.files)
        ]

    def processes(self):
        return [self.process(name) for name in {file.process: 0 for file in self.files.values()}]

    # The oracle

    def stock_text(self, escaping="underscores"):
        """What prometheus_client's own collector and encoder make of the same files."""
        counted = [
            str(file.path)
            for _, file in sorted(self.files.items())
            if not (file.kind.startswith("gauge_live") and file.process in self.dead)
        ]

        class Registry:
            def collect(self):
                return MultiProcessCollector.merge(counted)

        if escaping == "underscores":  # as older clients do, without a word for it
            return exposition.generate_latest(Registry())
        return exposition.generate_latest(Registry(), escaping=escaping)


@pytest.fixture
def folder(tmp_path):
    folder = StockFolder(tmp_path)
    yield folder
    folder.close()


def value_text(value):
    return "NaN" if math.isnan(value) else repr(float(value))


def parsed_text(text, any_help=False):
    """Header and values of each family of a text: comparable, whatever the order of lines."""
    families = {}
    for family in parser.text_string_to_metric_families(text.decode()):
        assert family.name not in families, f"{family.name} is there twice"
        samples = {}
        for sample in family.samples:
            identity = (sample.name, frozenset(sample.labels.items()))
            assert identity not in samples, f"{identity} is there twice"
            samples[identity] = value_text(sample.value)
        families[family.name] = (family.type, any_help or family.documentation, samples)
    return families


@pytest.fixture
def parsed():
    return parsed_text


@pytest.fixture
def same_as_stock(folder):
    """Checks that our text of the folder says what prometheus_client's does.

    With ``any_help`` it may choose another one of several help texts of a family.
    """

    def check(exposition=None, form=TEXT_0_0_4, any_help=False):
        ours = (exposition or Exposition(folder)).render(form)
        expected = parsed_text(folder.stock_text(form.escaping), any_help)
        # prometheus_client also gives families that are left without samples.
        expected = {name: family for name, family in expected.items() if family[2]}
        assert parsed_text(ours, any_help) == expected

    return check


@pytest.fixture
def samples():
    """The samples of a text by name: [(labels, value)]."""

    def read(text):
        found = defaultdict(list)
        for family in parser.text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                found[sample.name].append((sample.labels, sample.value))
        return found

    return read


@pytest.fixture
def run_python():
    """Runs code in a process of its own and gives what it printed."""

    def run(code):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
