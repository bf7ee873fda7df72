import os

import pytest
from prometheus_client.mmap_dict import MmapedDict

from gunicorn_prometheus_storage_mmap import layout
from gunicorn_prometheus_storage_mmap.access import Access
from gunicorn_prometheus_storage_mmap.page import Page

READABLE_BY_GROUP = Access(0o640)


def keys(first, last):
    return [f'["family", "sample", {{"n": "{n}"}}, "help"]'.encode() for n in range(first, last)]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "counter_worker-0.db")


def on_disk(path):
    return {key.decode(): value for key, (value, _) in layout.read(read_bytes(path)).items()}


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def store(page, wanted, values):
    for at, value in zip(page.place(wanted), values, strict=True):
        page.view[at] = value


def test_a_key_keeps_its_place():
    page = Page("counter")
    first = page.place(keys(0, 3))
    assert page.place(keys(0, 3)) == first
    assert page.place(keys(0, 500))[:3] == first


def test_a_key_asked_for_twice_at_once_has_one_place():
    page = Page("counter")
    a, b = page.place(keys(0, 1) * 2)
    assert a == b
    assert page.keys == keys(0, 1)


def test_values_survive_growth_in_memory():
    page = Page("counter")
    store(page, keys(0, 2000), range(2000))
    assert [page.view[at] for at in page.place(keys(0, 2000))] == list(range(2000))


def test_values_survive_growth_in_a_file(path):
    page = Page("counter")
    page.move_to(path, {}, Access())
    before = os.stat(path).st_size
    store(page, keys(0, 2000), range(2000))
    assert os.stat(path).st_size > before
    assert list(on_disk(path).values()) == list(range(2000))


def test_growth_reserves_real_blocks(path):
    page = Page("counter")
    page.move_to(path, {}, Access())
    page.place(keys(0, 2000))
    status = os.stat(path)
    assert status.st_blocks * 512 >= status.st_size > len(keys(0, 2000)) * 24


def test_a_view_taken_before_growth_still_reaches_the_file(path):
    page = Page("counter")
    page.move_to(path, {}, Access())
    (at,) = page.place(keys(0, 1))
    view = page.view
    page.place(keys(0, 2000))
    view[at] = 7.0
    assert on_disk(path)[keys(0, 1)[0].decode()] == 7.0


def test_prometheus_client_reads_the_file(path):
    page = Page("counter")
    page.move_to(path, {}, Access())
    store(page, keys(0, 300), range(300))
    read = {k: v for k, v, _, _ in MmapedDict.read_all_values_from_file(path)}
    assert list(read.values()) == list(range(300))


def test_a_page_moves_from_memory_into_a_file_with_its_values_in_their_places(path):
    page = Page("counter")
    at = page.place(keys(0, 3))
    store(page, keys(0, 3), [1, 2, 3])
    page.move_to(path, {}, READABLE_BY_GROUP)
    assert page.place(keys(0, 3)) == at
    assert [page.view[i] for i in at] == [1, 2, 3]
    assert list(on_disk(path).values()) == [1, 2, 3]
    assert os.stat(path).st_mode & 0o777 == 0o640


def test_what_a_page_continues_is_added(path):
    page = Page("counter")
    store(page, keys(0, 2), [1, 2])
    former = {keys(1, 2)[0]: (10.0, 5.0), keys(2, 3)[0]: (100.0, 6.0)}
    page.move_to(path, former, Access())
    assert list(on_disk(path).values()) == [1, 12, 100]
    assert page.keys == keys(0, 3)
    store(page, keys(2, 4), [7, 8])
    assert list(on_disk(path).values()) == [1, 12, 7, 8]


def test_forgetting_values_keeps_keys_and_places(path):
    page = Page("counter")
    at = page.place(keys(0, 300))
    store(page, keys(0, 300), range(300))
    page.move_to(path, {}, Access())
    page.forget_values()
    assert page.path is None
    assert page.place(keys(0, 300)) == at
    assert {page.view[i] for i in at} == {0.0}
    assert list(on_disk(path).values()) == list(range(300))


@pytest.mark.parametrize("obstacle", ["directory in its place", "no directory"])
def test_a_page_that_cannot_move_goes_on_as_it_was(path, tmp_path, obstacle):
    page = Page("counter")
    store(page, keys(0, 2), [1, 2])
    if obstacle == "no directory":
        target = str(tmp_path / "missing" / "counter_worker-0.db")
    else:
        target = path
        os.makedirs(os.path.join(path, "inside"))
    with pytest.raises(OSError, match="counter_worker-0"):
        page.move_to(target, dict.fromkeys(keys(1, 400), (5.0, 0.0)), Access())
    assert page.path is None
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".new")]
    at = page.place(keys(0, 600))
    assert len(set(at)) == 600
    store(page, keys(2, 600), range(2, 600))
    assert [page.view[i] for i in at] == [1, 2, *range(2, 600)]
    page.move_to(str(tmp_path / "elsewhere.db"), {}, Access())
    assert list(on_disk(tmp_path / "elsewhere.db").values()) == [1, 2, *range(2, 600)]


def test_a_page_is_lost_when_its_file_is_removed_or_replaced(path):
    page = Page("counter")
    assert not page.lost
    page.move_to(path, {}, Access())
    assert not page.lost
    os.rename(path, f"{path}.away")
    assert page.lost
    with open(path, "wb"):
        pass
    assert page.lost


@pytest.mark.parametrize(
    "damage",
    [
        lambda fd, used: os.truncate(fd, 0),
        lambda fd, used: os.truncate(fd, used - 8),
        lambda fd, used: os.pwrite(fd, bytes(used), 0),
        lambda fd, used: os.pwrite(fd, b"X", 12),
        lambda fd, used: os.pwrite(fd, b"\xff" * 8, 8),
    ],
)
def test_a_damaged_file_is_not_intact(path, damage):
    page = Page("counter")
    page.place(keys(0, 10))
    page.move_to(path, {}, Access())
    store(page, keys(0, 10), range(10))
    assert page.intact
    fd = os.open(path, os.O_RDWR)
    damage(fd, len(layout.image((k, 0, 0) for k in keys(0, 10))))
    os.close(fd)
    assert not page.intact


def test_pages_leave_no_descriptors_open(path, tmp_path):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    page = Page("counter")
    for n in range(20):
        page.move_to(f"{path}{n}", {}, Access())
        page.place(keys(0, 100 * n))
    with pytest.raises(OSError, match="missing"):
        page.move_to(str(tmp_path / "missing" / "x.db"), {}, Access())
    page.forget_values()
    del page
    assert descriptors() == before
