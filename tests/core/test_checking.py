"""What a storage backend gives is looked over before anything is made of it."""

import math
from array import array
from dataclasses import replace

import pytest

from gunicorn_prometheus_core.checking import Checking, Nonsense
from gunicorn_prometheus_core.storage import Process, Remark, Snapshot

PROCESS = Process("worker-0", "worker", "0")
VALUES = memoryview(array("d", [1.0, 2.0, 3.0]))
GOOD = Snapshot(PROCESS, "counter", [b"a", b"b"], [0, 2], VALUES, "there")
SAID = Remark({"version": "1"}, 1.0, 1000.0)


def saying(remark):
    return [replace(GOOD, kind="info", remarks=lambda: {b"a": remark})]


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        replace(GOOD, keys=(), at=range(0), values=memoryview(array("d"))),
        replace(GOOD, kind="gauge_max", at=[0, 1]),
        replace(GOOD, keys=(b"x",), at=range(1)),
    ],
)
def test_what_is_right_is_given(good):
    assert Checking().snapshots(iter([good])) == [good]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "collect() gave NoneType instead of snapshots"),
        ([None], "collect() gave NoneType among the snapshots"),
        ([replace(GOOD, process="worker-0")], "without a name"),
        ([replace(GOOD, kind=b"counter")], "without a name"),
        ([replace(GOOD, instance=None)], "without a name"),
        ([replace(GOOD, process=replace(PROCESS, role=None))], "facts are of other types"),
        ([replace(GOOD, process=replace(PROCESS, number=0))], "facts are of other types"),
        ([replace(GOOD, process=replace(PROCESS, alive="yes"))], "facts are of other types"),
        ([replace(GOOD, process=replace(PROCESS, started="now"))], "facts are of other types"),
        ([replace(GOOD, process=replace(PROCESS, ended=math.nan))], "facts are of other types"),
        ([replace(GOOD, kind="info", remarks=list)], "remarks that are no mapping"),
        (saying(None), "remarks that are none"),
        (saying(replace(SAID, labels={"version": 1})), "remarks that are none"),
        (saying(replace(SAID, labels=["version"])), "remarks that are none"),
        (saying(replace(SAID, value="1")), "remarks that are none"),
        (saying(replace(SAID, time=None)), "remarks that are none"),
        (saying(replace(SAID, time=math.inf)), "remarks that are none"),
        ([replace(GOOD, values=[1.0, 2.0, 3.0])], "no contiguous doubles"),
        ([replace(GOOD, values=memoryview(bytes(24)))], "no contiguous doubles"),
        ([replace(GOOD, values=VALUES[::2])], "no contiguous doubles"),
        ([replace(GOOD, keys=[b"a"])], "does not have a position for each key"),
        ([replace(GOOD, keys=iter([b"a"]))], "does not have a position for each key"),
        ([replace(GOOD, keys=["a", "b"])], "keys that are no bytes"),
        ([replace(GOOD, at=[0, 1.0])], "positions that are no whole numbers"),
        ([replace(GOOD, at=[2, 0])], "positions that do not rise"),
        ([replace(GOOD, at=[1, 1])], "positions that do not rise"),
        ([replace(GOOD, at=[-1, 1])], "positions that do not rise"),
        ([replace(GOOD, at=[0, 3])], "positions that lie behind its values"),
        ([replace(GOOD, kind="gauge_max")], "positions that lie behind its values"),
    ],
)
def test_nonsense_is_named(given, words):
    with pytest.raises(Nonsense) as error:
        Checking().snapshots(given)
    assert words in str(error.value)


def test_what_has_grown_is_looked_at_and_the_rest_only_once():
    checking = Checking()
    keys, at = [b"a"], [0]
    growing = replace(GOOD, keys=keys, at=at)
    checking.snapshots([growing])
    keys.append("b")
    at.append(1)
    with pytest.raises(Nonsense, match="no bytes"):
        checking.snapshots([growing])
    keys[1] = b"b"
    checking.snapshots([growing])
    with pytest.raises(Nonsense, match="behind its values"):
        checking.snapshots([replace(growing, values=VALUES[:1])])
    at[1] = 0
    keys.append(b"c")
    at.append(0)
    with pytest.raises(Nonsense, match="do not rise"):
        checking.snapshots([growing])
