import pytest

from gunicorn_prometheus_workers.labels import Endpoints, method_label


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
)
def test_methods_of_the_rfcs_are_themselves(method):
    assert method_label(method) == method


@pytest.mark.parametrize("method", ["get", "PROPFIND", "GETT", "", "X" * 1000, "_OTHER"])
def test_all_other_methods_are_one(method):
    assert method_label(method) == "_OTHER"


def test_paths_beyond_the_limit_are_one():
    endpoints = Endpoints(2)
    assert [endpoints.label(path, 200) for path in ("/a", "/b", "/c", "/d", "/a", "/b")] == [
        "/a",
        "/b",
        "_other_",
        "_other_",
        "/a",
        "/b",
    ]


def test_a_limit_of_zero_keeps_no_path():
    assert Endpoints(0).label("/a", 200) == "_other_"


@pytest.mark.parametrize("status", [400, 404, 499])
def test_paths_that_nobody_knows_are_one_and_use_nothing_of_the_limit(status):
    endpoints = Endpoints(1)
    assert [endpoints.label(f"/{n}", status) for n in range(100)] == ["_unmatched_"] * 100
    assert endpoints.label("/a", 200) == "/a"


def test_a_known_path_that_is_not_found_is_itself():
    endpoints = Endpoints(1)
    endpoints.label("/a", 200)
    assert endpoints.label("/a", 404) == "/a"


def test_what_the_slot_holds_already_counts_for_the_limit():
    endpoints = Endpoints(2, ["/a", "_other_", "_unmatched_", "UNKNOWN"])
    assert [endpoints.label(path, 200) for path in ("/b", "/c", "/a")] == ["/b", "_other_", "/a"]


def test_long_paths_are_cut():
    endpoints = Endpoints(1)
    label = endpoints.label("/" + "x" * 5000, 200)
    assert len(label) == 200
    assert endpoints.label("/" + "x" * 6000, 200) == label
