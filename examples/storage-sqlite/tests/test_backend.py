from gunicorn_prometheus_core.testing import SharedStorageTests


class TestSqlite(SharedStorageTests):
    """Everything that the protocol asks for."""


def test_what_was_retired_long_ago_becomes_one(host, query):
    """The suite can't wait for a day."""
    observer = host("observer")
    for number in range(3):
        one = host(f"old{number}")
        one.count("x", number + 1)
        one.gauge("g", number, "max")
        one.publish()
        one.retire("")
        before = observer.totals(), observer.gauges()
        query("UPDATE instances SET seen = 1.0 WHERE retired AND name <> 'archive'")
        observer.publish()
        assert query("SELECT name FROM instances WHERE retired") == [("archive",)]
        assert (observer.totals(), observer.gauges()) == before
    assert before == ({"x": 6.0}, {("g", "max"): [2.0]})
