import os
import socket

import pytest

from gunicorn_prometheus_master import handover


def test_what_is_handed_on_can_be_taken_once(monkeypatch):
    environ = {"PATH": "/bin"}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with handover.handing(environ, "/pages", [listener]):
            assert listener.get_inheritable()
            for name, value in environ.items():
                monkeypatch.setenv(name, value)
        assert not listener.get_inheritable()
        assert environ == {"PATH": "/bin"}
        assert handover.take() == handover.Handed("/pages", (listener.fileno(),))
    assert handover.take() == handover.Handed()


@pytest.mark.parametrize("given", ["", "x", "-1", "7.5", "tcp://10.0.0.1:80"])
def test_what_is_not_by_us_does_not_end_the_start(monkeypatch, given):
    monkeypatch.setenv("GUNICORN_PROMETHEUS_FD", given)
    assert handover.take() == handover.Handed()
    assert "GUNICORN_PROMETHEUS_FD" not in os.environ
