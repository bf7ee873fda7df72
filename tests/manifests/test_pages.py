"""The commands of the pages, rehearsed: each is for something that is there, and would do it."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

from .conftest import KUBERNETES, ROOT, run

PAGES = ["docs/how-to/containers.md", "docs/how-to/kubernetes.md"]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    texts = [text for page in PAGES for text in blocks(page, "console")]
    return [line for text in texts for line in text.splitlines()]


def rehearse(words: list[str]) -> None:
    match words:
        case ["kubectl", "apply", "-k", folder]:
            assert run("kustomize", "build", ROOT / folder).stdout
        case ["kubectl", "create", "secret", "generic", "redis", literal]:
            assert literal.startswith("--from-literal=REDIS_PASSWORD=")
        case ["kubectl", "create", "configmap", name, source]:
            complete = run("kustomize", "build", KUBERNETES / "overlays" / "complete").stdout
            assert f"name: {name}\n" in complete
            assert source.startswith("--from-file=deploy/")
        case ["helm", "install", _, chart, *values] if chart.startswith("deploy/"):
            assert run("helm", "template", "metrics", ROOT / chart, *values).stdout
        case ["helm", "install", _, _, "--values", values]:
            assert yaml.safe_load((ROOT / values).read_text())
        case ["docker", "compose", *files, "up", "--build"]:
            named = [str(ROOT / word) if word != "-f" else "-f" for word in files]
            run("docker-compose", *named, "config", "--quiet")
        case ["docker", "build", "--file", dockerfile, "--tag", _, "."]:
            assert (ROOT / dockerfile).is_file()
        case ["docker", "run", *_] | ["nox", "-s", "build"]:
            pass  # what it runs is run by tests/containers, and it by every session
        case _:
            raise AssertionError(f"nobody knows whether this works: {words}")


@pytest.mark.parametrize("command", commands())
def test_commands(command):
    rehearse(shlex.split(command))


def test_an_overlay_of_ones_own(tmp_path):
    """The one on the page, beside a clone."""
    (text,) = blocks("docs/how-to/kubernetes.md", "yaml")
    (tmp_path / "gunicorn-prometheus-exporter").symlink_to(ROOT)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "kustomization.yaml").write_text(text)
    made = run("kustomize", "build", tmp_path / "shop").stdout
    assert "image: registry.example.com/shop:7\n" in made
    assert 'GUNICORN_PROMETHEUS_ENDPOINT_LIMIT: "200"\n' in made
    assert "kind: PodMonitor\n" in made


def test_components_and_overlays_are_on_the_page():
    page = (ROOT / "docs/how-to/kubernetes.md").read_text()
    documented = set(re.findall(r"`([a-z-]+)`", page))
    overlays = {path.name for path in (KUBERNETES / "overlays").iterdir()}
    assert overlays <= documented
    components = {path.name for path in (KUBERNETES / "components").iterdir()}
    assert components - documented == {"metrics-port", "scraped-pods"}  # parts of others
