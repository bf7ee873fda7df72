"""The manifests are valid, agree with each other, and say nothing the exporter doesn't know."""

from __future__ import annotations

import re

import kubernetes_validate
import pytest
import yaml

from gunicorn_prometheus_core import configuration
from gunicorn_prometheus_core.catalogue import FAMILIES
from gunicorn_prometheus_core.settings import DECLARATIONS

from .conftest import (
    CHART,
    CHARTS,
    KUBERNETES,
    OVERLAYS,
    ROOT,
    containers,
    is_ours,
    of_kind,
    pod,
    rendered,
    run,
    selects,
    workloads,
)

#: Of the operator and so in no schema of Kubernetes.
FOREIGN = {"PodMonitor"}
#: Set beside settings: what the documents call the node, from which a setting is made.
OTHER_VARIABLES = {"NODE_NAME"}


def test_valid_to_kubernetes(resources):
    assert resources
    for resource in resources:
        if resource["kind"] not in FOREIGN:
            kubernetes_validate.validate(resource, "1.37", strict=True)


def test_helm_finds_nothing_to_complain_about():
    run("helm", "lint", "--strict", CHART)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ("kind=Pod", "kind must be one of the following"),
        ("replicas=2", "Additional property replicas is not allowed"),
        ("settings.port=9091", "Does not match pattern"),
        ("kind=DaemonSet,podMonitor.enabled=true", "podMonitor.enabled needs kind=Deployment"),
    ],
)
def test_the_chart_refuses(values, complaint):
    done = run("helm", "template", "metrics", CHART, "--set", values, check=False)
    assert done.returncode != 0
    assert complaint in done.stderr


# Variables


def test_every_variable_is_a_setting_with_a_good_value(resources):
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(resources, "ConfigMap")}
    for container in containers(resources):
        if not is_ours(container):
            continue
        given = {}
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                given |= maps[source["configMapRef"]["name"]]
        for variable in container.get("env", []):
            given[variable["name"]] = variable.get("value", "from-a-field")
        settings = {declared.variable for declared in DECLARATIONS.values()}
        unknown = given.keys() - settings - OTHER_VARIABLES
        assert not unknown, f"{container['name']}: {unknown}"
        configuration.load(given)


def test_secrets_are_referred_to_and_not_in_here(resources):
    assert not of_kind(resources, "Secret")
    text = yaml.safe_dump_all(resources)
    assert not re.search(r"name: REDIS_PASSWORD\n +value:", text)


@pytest.mark.parametrize("overlay", ["sidecar-redis", "daemonset"])
def test_who_talks_to_redis_has_its_password_and_may(overlay):
    for workload in workloads(rendered(overlay)):
        for container in pod(workload)["containers"]:
            assert {"secretRef": {"name": "redis"}} in container["envFrom"], container["name"]
        if workload["metadata"]["name"] != "redis":
            assert workload["spec"]["template"]["metadata"]["labels"]["redis-client"] == "true"


# Ports, names, images


def test_services_lead_to_ports_that_are_there(resources):
    for service in of_kind(resources, "Service"):
        behind = [one for one in workloads(resources) if selects(service["spec"]["selector"], one)]
        assert behind, service["metadata"]["name"]
        for port in service["spec"]["ports"]:
            for workload in behind:
                named = [
                    offered["containerPort"]
                    for container in pod(workload)["containers"]
                    for offered in container["ports"]
                    if offered["name"] == port["targetPort"]
                ]
                assert named == [port["port"]], (service["metadata"]["name"], port)


def test_probes_and_monitors_ask_ports_that_are_there(resources):
    for container in containers(resources):
        ports = {port["name"] for port in container["ports"]}
        probes = [value for key, value in container.items() if key.endswith("Probe")]
        assert probes
        for probe in probes:
            asked = probe.get("httpGet") or probe["tcpSocket"]
            assert asked["port"] in ports
    for monitor in of_kind(resources, "PodMonitor"):
        (workload,) = workloads(resources)
        assert selects(monitor["spec"]["selector"]["matchLabels"], workload)
        offered = {port["name"] for one in pod(workload)["containers"] for port in one["ports"]}
        assert {end["port"] for end in monitor["spec"]["podMetricsEndpoints"]} <= offered


@pytest.mark.parametrize(
    ("chart", "scheme"), [("chart, operator", "http"), ("chart, tls", "https")]
)
def test_who_asks_the_chart_s_exporter_speaks_its_scheme(chart, scheme):
    resources = rendered(chart)
    (container,) = containers(resources)
    variables = {one["name"]: one["value"] for one in container["env"]}
    certified = [variables.get(f"PROMETHEUS_SSL_{name}FILE") for name in ("CERT", "KEY")]
    if scheme == "https":
        (mount,) = container["volumeMounts"]
        assert certified == [f"{mount['mountPath']}/tls.{end}" for end in ("crt", "key")]
    else:
        assert "volumeMounts" not in container
        assert certified == [None, None]
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == scheme.upper()
    (service,) = of_kind(resources, "Service")
    assert service["metadata"]["annotations"].get("prometheus.io/scheme", "http") == scheme
    (monitor,) = of_kind(resources, "PodMonitor")
    (end,) = monitor["spec"]["podMetricsEndpoints"]
    assert end.get("scheme", "http") == scheme
    assert end.get("tlsConfig") == ({"serverName": "metrics"} if scheme == "https" else None)


def test_annotations_name_the_port_of_the_metrics(resources):
    annotated = 0
    for resource in resources:
        for part in (resource, resource.get("spec", {}).get("template", {})):
            annotations = part.get("metadata", {}).get("annotations", {})
            if annotations.get("prometheus.io/scrape") == "true":
                annotated += 1
                assert annotations["prometheus.io/path"] == "/metrics"
                port = annotations["prometheus.io/port"]
                assert f"ontainerPort: {port}\n" in yaml.safe_dump_all(resources)
    assert annotated == 1


def test_policies_open_the_ports_that_are_there(resources):
    policies = of_kind(resources, "NetworkPolicy")
    for policy in policies:
        selector = policy["spec"]["podSelector"]["matchLabels"]
        (workload,) = [one for one in workloads(resources) if selects(selector, one)]
        ports = [port for one in pod(workload)["containers"] for port in one["ports"]]
        offered = {port["containerPort"] for port in ports}
        opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert opened >= offered


def test_images_are_of_this_version(resources):
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version
    for container in containers(resources):
        if is_ours(container):
            assert container["image"].endswith(f":{version[1]}")


@pytest.mark.parametrize("overlay", [*OVERLAYS, *CHARTS])
def test_what_is_scraped_is_not_scraped_twice(overlay):
    """Where each exporter serves the sum of all, the Service is annotated, else the pods are."""
    resources = rendered(overlay)
    shared = any(
        "REDIS_ENABLED" in str(resource) and "REDIS_HOST" in str(resource) for resource in resources
    )
    for workload in workloads(resources):
        annotations = workload["spec"]["template"]["metadata"].get("annotations", {})
        if workload["metadata"]["name"].startswith("gunicorn-app"):
            assert ("prometheus.io/scrape" in annotations) is not shared


# What Kubernetes is asked for


def test_nothing_runs_with_more_rights_than_it_needs(resources):
    for workload in workloads(resources):
        spec = pod(workload)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        serves = spec.get("serviceAccountName")
        assert serves == "prometheus" or spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            if is_ours(container):
                assert spec["securityContext"]["runAsUser"] == 1000
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_metrics_do_not_decide_whether_the_application_is_ready():
    for overlay in ("sidecar", "sidecar-redis", "complete"):
        (app,) = [
            workload
            for workload in workloads(rendered(overlay))
            if workload["metadata"]["name"] == "gunicorn-app-with-sidecar"
        ]
        server, exporter = pod(app)["containers"]
        assert "readinessProbe" in server
        assert "readinessProbe" not in exporter


# Prometheus


def test_prometheus_understands_its_configuration(tmp_path):
    path = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    run("promtool", "check", "config", path)
    (configuration,) = [
        resource["data"]["prometheus.yml"]
        for resource in rendered("complete")
        if resource["metadata"]["name"].startswith("prometheus-")
    ]
    # Debian builds it without Kubernetes.
    jobs = yaml.safe_load(configuration)
    for job in jobs["scrape_configs"]:
        del job["kubernetes_sd_configs"]
        job["static_configs"] = [{"targets": ["pod:9091"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(jobs))
    run("promtool", "check", "config", tmp_path / "prometheus.yml")


def test_what_pods_are_scaled_by_can_be_asked(tmp_path):
    values = KUBERNETES / "components" / "autoscaling" / "prometheus-adapter.yaml"
    (rule,) = yaml.safe_load(values.read_text())["rules"]["custom"]
    query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod")
    query = query.replace("<<.LabelMatchers>>", 'namespace="shop",pod=~"a|b"')
    group = {"name": "utilisation", "rules": [{"record": "is:asked", "expr": query}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [group]}))
    run("promtool", "check", "rules", tmp_path / "rules.yml")
    named = set(re.findall(r"gunicorn_worker_\w+", rule["metricsQuery"] + rule["seriesQuery"]))
    assert named <= {family.name for family in FAMILIES} | {
        f"{family.name}_total" for family in FAMILIES
    }
    (scaler,) = of_kind(rendered("complete"), "HorizontalPodAutoscaler")
    assert scaler["spec"]["metrics"][0]["pods"]["metric"]["name"] == rule["name"]["as"]
    named = scaler["spec"]["scaleTargetRef"]["name"]
    (scaled,) = [one for one in workloads(rendered("complete")) if one["metadata"]["name"] == named]
    assert "replicas" not in scaled["spec"]  # only one of the two may say how many there are
