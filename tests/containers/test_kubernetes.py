"""Deployments, played by podman: ours as it is, and the one of the documents."""

from __future__ import annotations

import json
import shutil

import yaml

from .conftest import (
    ROOT,
    Server,
    is_restricted,
    logs_on_failure,
    scrape,
    total,
    wait,
    wait_total,
)

REQUESTS = "gunicorn_worker_requests_total"


def addresses(engine) -> dict[str, str]:
    """The addresses of pods, by their names."""
    found = {}
    for pod in json.loads(engine.podman("pod", "ps", "--format", "json")):
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        found[pod["Name"]] = engine.podman("inspect", "--format", form, pod["InfraId"])
    return found


def test_the_sidecar_overlay(engine, tmp_path):
    kustomize = shutil.which("kustomize")
    assert kustomize, "run it as `nox -s containers`"
    manifest = tmp_path / "sidecar.yaml"
    overlay = ROOT / "deploy" / "kubernetes" / "overlays" / "sidecar"
    resources = list(yaml.safe_load_all(engine.run(kustomize, "build", overlay)))
    for resource in resources:
        if resource["kind"] == "Deployment":
            resource["spec"]["replicas"] = 1  # podman publishes ports of pods, on its one machine
    manifest.write_text(yaml.safe_dump_all(resources))
    engine.podman("kube", "play", manifest)
    ((name, address),) = addresses(engine).items()
    containers = f"{name}-app", f"{name}-prometheus-exporter"
    with logs_on_failure(engine, *containers):
        server = Server(f"{address}:8000")
        server.order("tea", 20)
        metrics = f"{address}:9091"
        wait_total(server.answered, REQUESTS, metrics)
        samples = scrape(metrics)
        assert total("shop_orders_total", samples, item="tea") == 20
        assert total("gunicorn_workers", samples) == 4
        for container in containers:
            is_restricted(engine, container)
        form = "{{.HostConfig.Memory}}"
        limits = [int(engine.podman("inspect", "--format", form, one)) for one in containers]
        assert limits == [384 << 20, 128 << 20]

        # A container that is killed and started anew goes on with its counts.
        engine.podman("kill", "--signal", "KILL", containers[0])
        engine.podman("start", containers[0])
        wait(lambda: server.send("/health")[0] == 200, "the server answers again")
        server.order("tea", 5)
        wait_total(server.answered, REQUESTS, metrics)
        wait_total(25, "shop_orders_total", metrics, item="tea")


def test_the_documented_sidecar_deployment(engine, tmp_path):
    """Its names, variables and port; not a word of SIDECAR_MODE or Redis."""
    volume = {"name": "prometheus-data", "mountPath": "/tmp/prometheus_multiproc"}
    app = {
        "name": "app",
        "image": "princekrroshan01/gunicorn-app:0.3.0",
        "ports": [{"containerPort": 8200, "name": "http"}],
        "env": [
            {"name": "PROMETHEUS_MULTIPROC_DIR", "value": "/tmp/prometheus_multiproc"},
            {"name": "GUNICORN_WORKERS", "value": "4"},
        ],
        "volumeMounts": [volume],
    }
    exporter = {
        "name": "prometheus-exporter",
        "image": "princekrroshan01/gunicorn-prometheus-exporter:0.3.0",
        "ports": [{"containerPort": 9091, "name": "metrics"}],
        "env": [
            {"name": "PROMETHEUS_METRICS_PORT", "value": "9091"},
            {"name": "PROMETHEUS_BIND_ADDRESS", "value": "0.0.0.0"},
            {"name": "PROMETHEUS_MULTIPROC_DIR", "value": "/tmp/prometheus_multiproc"},
        ],
        "volumeMounts": [volume],
    }
    labels = {"app": "gunicorn-app"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "gunicorn-app-with-sidecar"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [app, exporter],
                    "volumes": [{"name": "prometheus-data", "emptyDir": {}}],
                },
            },
        },
    }
    manifest = tmp_path / "deployment.yaml"
    manifest.write_text(yaml.safe_dump(deployment))
    engine.podman("kube", "play", manifest)
    ((name, address),) = addresses(engine).items()
    with logs_on_failure(engine, f"{name}-app", f"{name}-prometheus-exporter"):
        server = Server(f"{address}:8200")
        server.order("coffee", 20)
        wait_total(server.answered, REQUESTS, f"{address}:9091")
        assert total("shop_orders_total", scrape(f"{address}:9091"), item="coffee") == 20
