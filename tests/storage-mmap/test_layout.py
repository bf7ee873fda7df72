import json
import random
import struct

import pytest
from prometheus_client.mmap_dict import MmapedDict

from gunicorn_prometheus_storage_mmap import layout

ENTRIES = {
    "[]": (1.0, 0.0),
    '["a", "a_total", {}, "help"]': (2.5, 0.0),
    '["größe", "größe", {"x": "✓ 🦄"}, "hilfe"]': (-1.0, 1e9),
    json.dumps(["long", "long", {"x": "y" * 5000}, "help"]): (float("inf"), 3.0),
} | {f'["{"k" * n}"]': (float(n), 0.0) for n in range(1, 12)}


@pytest.fixture
def stock(tmp_path):
    """A page that prometheus_client has written, as it is on the disk."""
    path = tmp_path / "counter_1.db"
    written = MmapedDict(str(path))
    for key, cell in ENTRIES.items():
        written.write_value(key, *cell)
    written.close()
    return path


def page(entries=ENTRIES):
    return layout.image((key.encode(), *cell) for key, cell in entries.items())


def test_we_read_what_prometheus_client_writes(stock):
    read = layout.read(stock.read_bytes())
    assert {key.decode(): cell for key, cell in read.items()} == ENTRIES


def test_prometheus_client_reads_what_we_write(tmp_path):
    path = tmp_path / "counter_1.db"
    path.write_bytes(page())
    read = MmapedDict.read_all_values_from_file(str(path))
    assert {key: (value, stamp) for key, value, stamp, _ in read} == ENTRIES


def test_prometheus_client_continues_what_we_write(tmp_path):
    path = tmp_path / "counter_1.db"
    path.write_bytes(page())
    theirs = MmapedDict(str(path))
    theirs.write_value("[]", 7.0, 8.0)
    theirs.write_value('["new"]', 9.0, 0.0)
    theirs.close()
    read = {key.decode(): cell for key, cell in layout.read(path.read_bytes()).items()}
    assert read == ENTRIES | {"[]": (7.0, 8.0), '["new"]': (9.0, 0.0)}


def test_our_bytes_are_those_of_prometheus_client(stock):
    ours = page()
    theirs = stock.read_bytes()
    assert theirs[: len(ours)] == ours
    assert not theirs[len(ours) :].strip(b"\0")


def test_a_page_is_scanned_in_parts_as_it_grows():
    keys = [f'["{i}"]'.encode() for i in range(5)]
    whole = layout.image((key, 0.0, 0.0) for key in keys)
    all_keys, all_at = layout.scan(whole, layout.HEADER_BYTES, len(whole))
    middle = layout.HEADER_BYTES + sum(len(layout.entry(key)) for key in keys[:2])
    first, first_at = layout.scan(whole, layout.HEADER_BYTES, middle)
    rest, rest_at = layout.scan(whole, middle, len(whole))
    assert all_keys == keys == first + rest
    assert all_at == first_at + rest_at


def test_known_keys_are_shared():
    known = {}
    data = page()
    first, _ = layout.scan(data, layout.HEADER_BYTES, len(data), known)
    second, _ = layout.scan(bytes(data), layout.HEADER_BYTES, len(data), known)
    assert all(a is b for a, b in zip(first, second, strict=True))


def test_an_empty_page_has_no_entries():
    assert layout.read(layout.header(8)) == {}
    assert layout.read(layout.header(8).ljust(4096, b"\0")) == {}


def test_a_page_whose_header_is_not_written_yet_has_no_entries():
    assert layout.read(bytes(4096)) == {}


# Corruption


def read_or_reject(data):
    """The entries, or None where the page is found corrupt. Any other error is a defect."""
    try:
        return layout.read(data)
    except layout.CorruptPage:
        return None


def small_page():
    return page({'["a", "a", {}, ""]': (1.0, 0.0), '["b", "b", {"x": "y"}, ""]': (2.0, 5.0)})


def test_a_page_cut_off_at_any_byte_is_rejected():
    whole = small_page()
    assert [n for n in range(len(whole)) if read_or_reject(whole[:n]) is not None] == []
    assert len(read_or_reject(whole)) == 2


def test_a_page_zeroed_from_any_byte_is_rejected_or_has_no_more_entries():
    whole = small_page()
    for n in range(len(whole)):
        read = read_or_reject(whole[:n] + bytes(len(whole) - n))
        assert read is None or len(read) <= (2 if n > 8 else 0)


@pytest.mark.parametrize(
    "used", [-8, -1, 1, 4, 7, 9, 12, 15, 2**31 - 8, 2**31 - 1, -(2**31), 1 << 20]
)
def test_a_header_that_lies_about_the_size_is_rejected(used):
    data = struct.pack("ii", used, 0) + small_page()[8:]
    with pytest.raises(layout.CorruptPage, match="the header claims"):
        layout.read(data)


def test_a_header_that_ends_within_an_entry_is_rejected():
    whole = small_page()
    ends = {8, 8 + len(layout.entry(b'["a", "a", {}, ""]')), len(whole)}
    for used in range(8, len(whole) + 1, 8):
        read = read_or_reject(layout.header(used) + whole[8:])
        assert (read is not None) == (used in ends)


@pytest.mark.parametrize("length", [-1, -8, 0, 3, 2**31 - 1, -(2**31), 1000])
def test_a_length_that_lies_is_rejected(length):
    whole = bytearray(small_page())
    struct.pack_into("i", whole, 8, length)
    with pytest.raises(layout.CorruptPage):
        layout.read(bytes(whole))


def test_padding_in_the_header_that_is_not_zero_is_rejected():
    with pytest.raises(layout.CorruptPage):
        layout.read(struct.pack("ii", 8, 2))


@pytest.mark.parametrize("seed", range(30))
def test_random_bytes_are_rejected_or_read_but_never_an_error(seed):
    rng = random.Random(seed)
    for size in (0, 1, 7, 8, 9, 64, 4096, 10_000):
        data = rng.randbytes(size)
        read_or_reject(data)
        fits = layout.header(size & ~7) + data[8:]
        read_or_reject(fits[:size])


@pytest.mark.parametrize("seed", range(30))
def test_a_page_with_a_few_wrong_bytes_is_rejected_or_read_but_never_an_error(seed):
    rng = random.Random(seed)
    whole = page()
    for _ in range(50):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        read = read_or_reject(bytes(data))
        assert read is None or len(read) <= len(ENTRIES)


def test_a_key_that_is_no_list_is_rejected_every_time():
    bad = layout.image([(b"", 0.0, 0.0), (b"garbage", 1.0, 0.0)])
    known = {}
    for _ in range(2):
        with pytest.raises(layout.CorruptPage, match="not a JSON list"):
            layout.scan(bad, layout.HEADER_BYTES, len(bad), known)
    assert known == {}
