"""Deployments, played by podman: ours as it is, and the one of the documents."""

from __future__ import annotations

import json
import shutil
from typing import Any

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

Resource = dict[str, Any]


def addresses(engine) -> dict[str, str]:
    """The addresses of pods, by their names."""
    found = {}
    for pod in json.loads(engine.podman("pod", "ps", "--format", "json")):
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        found[pod["Name"]] = engine.podman("inspect", "--format", form, pod["InfraId"])
    return found


def rendered(engine, overlay: str) -> list[Resource]:
    """An overlay, with one pod of each Deployment: podman publishes their ports on one machine."""
    kustomize = shutil.which("kustomize")
    assert kustomize, "run it as `nox -s containers`"
    folder = ROOT / "deploy" / "kubernetes" / "overlays" / overlay
    resources = list(yaml.safe_load_all(engine.run(kustomize, "build", folder)))
    for resource in resources:
        if resource["kind"] == "Deployment":
            resource["spec"]["replicas"] = 1
    return resources


def play(engine, folder, resources: list[Resource]) -> None:
    manifest = folder / "manifest.yaml"
    manifest.write_text(yaml.safe_dump_all(resources))
    engine.podman("kube", "play", manifest)


def test_the_sidecar_overlay(engine, tmp_path):
    play(engine, tmp_path, rendered(engine, "sidecar"))
    ((name, address),) = addresses(engine).items()
    containers = f"{name}-app", f"{name}-prometheus-exporter"
    with logs_on_failure(engine, *containers):
        server = Server(f"{address}:8000")
        server.order("tea", 20)
        metrics = f"{address}:9091"
        wait_total(server.answered, REQUESTS, metrics)
        samples = scrape(metrics)
        assert total("shop_orders_total", samples, item="tea") == 20
        wait_total(4, "gunicorn_workers", metrics)
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


def test_the_overlay_with_redis(engine, tmp_path):
    """podman 4.3 lacks Services and such Secrets: an address and a ConfigMap stand for them."""
    password = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "password"},
        "data": {"REDIS_PASSWORD": "of-the-test"},
    }
    resources = rendered(engine, "sidecar-redis")
    replaced = 0
    for workload in resources:
        if workload["kind"] == "Deployment":
            for container in workload["spec"]["template"]["spec"]["containers"]:
                container["envFrom"].remove({"secretRef": {"name": "redis"}})
                container["envFrom"].append({"configMapRef": {"name": "password"}})
                replaced += 1
    assert replaced == 3
    redis = [one for one in resources if one["metadata"]["name"] == "redis"]
    others = [one for one in resources if one not in redis]
    assert {one["kind"] for one in redis} == {
        "Deployment",
        "NetworkPolicy",
        "PersistentVolumeClaim",
    }
    play(engine, tmp_path, [password, *redis])
    ((redis_pod, redis_address),) = addresses(engine).items()
    for resource in others:
        if resource["kind"] == "ConfigMap":
            assert resource["data"]["REDIS_HOST"] == "redis-service"
            resource["data"]["REDIS_HOST"] = redis_address
    play(engine, tmp_path, [password, *others])
    (name,) = addresses(engine).keys() - {redis_pod}
    containers = f"{name}-app", f"{name}-prometheus-exporter", f"{redis_pod}-redis"
    with logs_on_failure(engine, *containers):
        server = Server()
        server.order("tea", 20)
        wait_total(server.answered, REQUESTS)
        wait_total(1, "gunicorn_sidecar_redis_connected")
        assert total("shop_orders_total", scrape(), item="tea") == 20
        refused = engine.podman("exec", containers[2], "redis-cli", "PING", check=False)
        assert "NOAUTH" in refused
        shown = engine.podman("top", containers[2], "args")
        assert "of-the-test" not in shown


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
    play(engine, tmp_path, [deployment])
    ((name, address),) = addresses(engine).items()
    with logs_on_failure(engine, f"{name}-app", f"{name}-prometheus-exporter"):
        server = Server(f"{address}:8200")
        server.order("coffee", 20)
        wait_total(server.answered, REQUESTS, f"{address}:9091")
        assert total("shop_orders_total", scrape(f"{address}:9091"), item="coffee") == 20
