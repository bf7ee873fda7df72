"""What docs/how-to/installing.md says of each selection: what comes along, and how large it is."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs/how-to/installing.md").read_text()
ROWS = re.findall(r"^\| `(gunicorn-prometheus-.+?)` \| .+ \| ([\d.]+) MB \|$", PAGE, re.MULTILINE)
#: What must not come along with these.
WITHOUT = {
    ROWS[0][0]: {"redis", "uvicorn", "h11", "psutil"},
    ROWS[1][0]: {"redis", "uvicorn", "h11"},
    ROWS[2][0]: {"redis", "gunicorn"},
    ROWS[3][0]: {"redis", "gevent", "eventlet", "tornado"},
    ROWS[4][0]: {"gevent", "eventlet", "tornado"},
    ROWS[5][0]: set(),
}
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("installing")]


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, *map(str, arguments)], cwd=REPOSITORY, check=True, timeout=280)


@pytest.mark.parametrize(("selection", "size"), ROWS)
def test_a_selection_is_as_large_as_said_and_has_nothing_else(selection, size, wheels, tmp_path):
    pip("install", "--find-links", wheels, "--no-compile", "--target", tmp_path, *selection.split())
    installed = {found.name.lower() for found in distributions(path=[str(tmp_path)])}
    assert {name.partition("[")[0] for name in selection.split()} < installed
    assert not installed & WITHOUT[selection]
    measured = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) / 1e6
    assert float(size) == pytest.approx(measured, rel=0.1), (
        f"{measured:.1f} MB: {sorted(installed)}"
    )


def test_without_server_the_application_serves_its_metrics(
    make_environment, run_gunicorn, wheels, tmp_path, until
):
    environment = make_environment()
    environment.install(*ROWS[0][0].split(), wheels=wheels)
    (app,) = re.findall(r"^```python\n# app.py\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (worker,) = re.findall(r"-k (\S+)", PAGE)
    (tmp_path / "app.py").write_text(app)
    (tmp_path / "pages").mkdir()
    server = run_gunicorn(
        environment, tmp_path, worker, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "pages")
    )
    for _ in range(30):
        assert server.get() == "Hello\n"
    recorded = (
        'gunicorn_http_request_duration_seconds_count{endpoint="/",method="GET",status="200"}'
    )
    for name in ("hello_greetings_total", recorded):
        until(lambda name=name: f"\n{name} 30.0\n" in server.get("metrics"), server.get)
