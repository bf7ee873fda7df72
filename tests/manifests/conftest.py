"""What the manifests are when kustomize and Helm have made them, and the programs for that."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
KUBERNETES = ROOT / "deploy" / "kubernetes"
CHART = KUBERNETES / "chart"

OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
#: Arguments of `helm template`, by what they are for.
CHARTS = {
    "chart": [],
    "chart, daemonset": ["--set", "kind=DaemonSet,existingSecret=redis"],
    "chart, operator": ["--set", "podMonitor.enabled=true,networkPolicy.enabled=true"],
    "chart, tls": [
        "--set=tlsSecret=metrics-tls,podMonitor.enabled=true,podMonitor.tlsConfig.serverName=metrics"
    ],
    "chart, port": ["--set", "settings.PROMETHEUS_METRICS_PORT=9200,networkPolicy.enabled=true"],
}

Resource = dict[str, Any]


def run(program: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    found = shutil.which(program)
    assert found, f"{program} is missing: `nox -s manifests` brings it"
    command = [found, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@functools.cache
def rendered(name: str) -> list[Resource]:
    """The resources of an overlay or of the chart, by the names above."""
    if name in CHARTS:
        text = run("helm", "template", "metrics", CHART, *CHARTS[name]).stdout
    else:
        text = run("kustomize", "build", KUBERNETES / "overlays" / name).stdout
    return [resource for resource in yaml.safe_load_all(text) if resource]


@pytest.fixture(params=[*OVERLAYS, *CHARTS])
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    return rendered(request.param)


def of_kind(resources: list[Resource], *kinds: str) -> list[Resource]:
    return [resource for resource in resources if resource["kind"] in kinds]


def workloads(resources: list[Resource]) -> list[Resource]:
    return of_kind(resources, "Deployment", "DaemonSet")


def pod(workload: Resource) -> Resource:
    return dict(workload["spec"]["template"]["spec"])


def containers(resources: list[Resource]) -> Iterator[Resource]:
    for workload in workloads(resources):
        yield from pod(workload)["containers"]


def is_ours(container: Resource) -> bool:
    return "gunicorn" in container["image"]


def selects(selector: dict[str, str], workload: Resource) -> bool:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    return selector.items() <= labels.items()
