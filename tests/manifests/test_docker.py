"""Dockerfiles and compose files have no findings, and nothing that the exporter doesn't know."""

from __future__ import annotations

import re

import pytest
import yaml

from gunicorn_prometheus_core import configuration
from gunicorn_prometheus_core.settings import DECLARATIONS

from .conftest import DOCKER, ROOT, run

DOCKERFILES = [DOCKER / "Dockerfile", DOCKER / "app" / "Dockerfile"]
PATTERNS = ["embedded", "files", "redis"]
SETTINGS = {declared.variable for declared in DECLARATIONS.values()}
#: Variables of images that are Python's and the shell's.
OTHER_VARIABLES = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
#: What the documents say the exporter's image begins with.
DOCUMENTED = {
    "PROMETHEUS_METRICS_PORT": "9091",
    "PROMETHEUS_BIND_ADDRESS": "0.0.0.0",
    "PROMETHEUS_MULTIPROC_DIR": "/tmp/prometheus_multiproc",
    "REDIS_ENABLED": "true",
    "REDIS_HOST": "redis-service",
    "REDIS_PORT": "6379",
    "REDIS_DB": "0",
    "REDIS_PASSWORD": None,
    "REDIS_KEY_PREFIX": "gunicorn",
    "SIDECAR_UPDATE_INTERVAL": "30",
    "SIDECAR_MODE": "true",
}


def version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert found
    return found[1]


def variables(dockerfile) -> dict[str, str]:
    """What ENV sets in the last stage."""
    joined = dockerfile.read_text().replace("\\\n", " ").rpartition("\nFROM ")[2]
    lines = [line for line in joined.splitlines() if line.startswith("ENV ")]
    return dict(pair.split("=", 1) for line in lines for pair in line.split()[1:])


def composed(*names: str):
    """What docker-compose makes of these files."""
    files = [word for name in names for word in ("--file", str(DOCKER / f"compose.{name}.yml"))]
    return yaml.safe_load(run("docker-compose", *files, "config").stdout)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_hadolint_finds_nothing(path):
    run("hadolint", "--failure-threshold", "style", path)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_images_set_nothing_but_settings(path):
    given = {key: value for key, value in variables(path).items() if key not in OTHER_VARIABLES}
    assert given.keys() <= SETTINGS
    configuration.load(given)


def test_the_exporters_image_begins_with_what_is_documented():
    settings = configuration.load(variables(DOCKERFILES[0]))
    for name, declared in DECLARATIONS.items():
        if declared.variable in DOCUMENTED:
            value = DOCUMENTED[declared.variable]
            expected = None if value is None else configuration.load({declared.variable: value})
            assert settings.value(name) == (expected and expected.value(name)), name


def test_the_image_has_the_version_of_the_product():
    assert f"ARG VERSION={version()}\n" in DOCKERFILES[0].read_text()


@pytest.mark.parametrize("extra", [[], ["stack"]], ids=["alone", "stack"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_compose_files_say_nothing_unknown(pattern, extra):
    services = composed(pattern, *extra)["services"]
    assert ("prometheus" in services) is bool(extra)
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"].split(":")[0] != "0", name
        if "gunicorn" in service["image"]:
            assert service["user"] == "1000:1000"
            assert service["image"].endswith(f":{version()}")
            given = service.get("environment", {})
            assert given.keys() <= SETTINGS
            configuration.load(given)
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: {port} is open to everybody"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_prometheus_scrapes_what_is_there(pattern):
    """What serves metrics is called as in Prometheus' configuration, and there is one of it."""
    path = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    (job,) = yaml.safe_load(path.read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    services = composed(pattern)["services"].values()
    named = [
        service
        for service in services
        if "metrics" in service.get("networks", {}).get("default", {}).get("aliases", [])
    ]
    assert len(named) == 1
    assert target == "metrics:9091"
    assert "127.0.0.1:9091:9091/tcp" in named[0]["ports"]


def test_the_stack_mounts_configurations_rules_and_dashboards():
    """Where they are in this repository, and where Prometheus and Grafana look for them."""
    services = composed("embedded", "stack")["services"]
    mounts = [mount for name in ("prometheus", "grafana") for mount in services[name]["volumes"]]
    assert {mount.removeprefix(f"{ROOT}/") for mount in mounts if mount.startswith("/")} == {
        "deploy/prometheus/prometheus.yml:/etc/prometheus/prometheus.yml:ro",
        "deploy/prometheus/rules:/etc/prometheus/rules:ro",
        "deploy/grafana/provisioning:/etc/grafana/provisioning:ro",
        "deploy/grafana/dashboards:/var/lib/grafana/dashboards:ro",
    }
