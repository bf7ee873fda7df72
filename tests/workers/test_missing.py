"""Workers whose library is not installed: an error at the start that names what brings it."""

import os
import subprocess
import sys

import pytest

LIBRARIES = {
    "gevent": ("gevent", "PrometheusGeventWorker"),
    "eventlet": ("eventlet", "PrometheusEventletWorker"),
    "tornado": ("tornado", "PrometheusTornadoWorker"),
    "uvicorn": ("uvicorn_worker", "PrometheusUvicornWorker"),
}


@pytest.mark.parametrize("extra", LIBRARIES)
def test_a_server_that_cannot_have_its_worker_says_which_extra_brings_it(tmp_path, extra):
    library, worker = LIBRARIES[extra]
    # As if it weren't there, whether it is or not.
    (tmp_path / f"{library}.py").write_text(f"raise ModuleNotFoundError('no {library}')\n")
    worker_class = f"gunicorn_prometheus_workers.{extra}.{worker}"
    command = [sys.executable, "-m", "gunicorn", "-k", worker_class, "--bind", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, "wsgiref.simple_server:demo_app"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert f"{worker} can't be used" in done.stderr
    assert f'pip install "gunicorn-prometheus-exporter[{extra}]"' in done.stderr
