import pytest

from gunicorn_prometheus_workers.labels import Endpoints, Values, clean, excluding, method_label


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


# Routes


def test_a_route_is_itself_whatever_the_status():
    endpoints = Endpoints(1)
    assert [endpoints.label("/users/7", status, "/users/<id>") for status in (200, 404, 499)] == [
        "/users/<id>"
    ] * 3


def test_what_has_no_route_is_one_and_uses_nothing_of_the_limit():
    endpoints = Endpoints(1)
    assert {
        endpoints.label(f"/{n}", status, "") for n in range(50) for status in (200, 301, 404)
    } == {"_unmatched_"}
    assert endpoints.label("/a", 200) == "/a"


@pytest.mark.parametrize("route", [None, "", "/a"])
def test_a_method_that_is_not_allowed_is_no_endpoint(route):
    """Or a stranger could multiply all endpoints by all methods."""
    endpoints = Endpoints(5)
    endpoints.label("/a", 200, "/a")
    assert endpoints.label("/a", 405, route) == "_unmatched_"


def test_there_may_be_ten_times_as_many_routes_as_paths():
    endpoints = Endpoints(2)
    routes = [endpoints.label("/x", 200, f"/route/{n}") for n in range(21)]
    assert routes == [*(f"/route/{n}" for n in range(20)), "_other_"]
    # Strangers, who choose paths, can't take places from routes.
    endpoints = Endpoints(2)
    assert [endpoints.label(f"/{n}", 200) for n in range(3)] == ["/0", "/1", "_other_"]
    assert endpoints.label("/x", 200, "/route") == "/route"


def test_endpoints_that_are_not_told_apart_are_one():
    endpoints = Endpoints(0)
    assert {
        endpoints.label(f"/{n}", s, r)
        for n, s, r in [(1, 200, "_all_"), (2, 404, "_all_"), (3, 405, "_all_")]
    } == {"_all_"}


# Texts


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("/a b", "/a b"),
        ("/straße", "/straße"),
        ("/a\nb\x00c\x7f", "/a\ufffdb\ufffdc\ufffd"),
        ("/\ud800", "/\ufffd"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_label_is_readable(text, label):
    assert clean(text) == label
    label.encode()


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        ("/straße".encode(), "/straße"),
        (b"/\xff\xfe", "/\ufffd\ufffd"),
        (b"/\xe2\x80\xae", "/\ufffd"),
        (b"/%C3%A4", "/%C3%A4"),
    ],
)
def test_a_path_is_bytes_that_should_be_utf_8(raw, label):
    assert Endpoints(5).label(raw.decode("latin-1"), 200) == label


def test_values_beyond_the_limit_are_one():
    values = Values(2, ["known", "_other_"])
    assert [values.admit(value) for value in ("a", "b", "known", "a")] == [
        "a",
        "_other_",
        "known",
        "a",
    ]


# Excluded paths


def test_nothing_is_excluded_by_default():
    assert excluding([]) is None


def test_paths_are_excluded_by_name_and_by_beginning():
    excluded = excluding(["/health", "/static/*"])
    assert [
        path for path in ("/health", "/health/", "/static", "/static/a/b", "/") if excluded(path)
    ] == [
        "/health",
        "/static/a/b",
    ]
