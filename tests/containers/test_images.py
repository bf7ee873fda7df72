"""What is in the images, and that building them again gives the same."""

from __future__ import annotations

import pytest

from .conftest import APP, BASE, DOCKER, EXPORTER, fetch, scrape, total, wait


@pytest.mark.parametrize(
    ("image", "megabytes"), [(EXPORTER, 20), (APP, 26)], ids=["exporter", "app"]
)
def test_it_adds_little_to_python(built, image, megabytes):
    added = built.inspect(image)["Size"] - built.inspect(BASE)["Size"]
    print(f"{image}: {added / 1e6:.1f} MB more than {built.inspect(BASE)['Size'] / 1e6:.1f} MB")
    assert 0 < added < megabytes * 1e6


def test_a_build_can_be_repeated(built, build_options):
    built.build(DOCKER / "Dockerfile", "localhost/again", "--no-cache", *build_options)
    layers = [built.inspect(image)["RootFS"]["Layers"] for image in (EXPORTER, "localhost/again")]
    assert layers[0] == layers[1]


def test_how_the_exporter_is_run(built):
    configuration = built.inspect(EXPORTER)["Config"]
    assert configuration["User"] == "1000:1000"
    assert configuration["Entrypoint"] == ["gunicorn-prometheus-exporter"]
    assert configuration["Cmd"] == ["sidecar"]
    assert configuration["ExposedPorts"] == {"9091/tcp": {}}
    check = built.inspect(EXPORTER)["Healthcheck"]
    assert check["Test"] == ["CMD", "gunicorn-prometheus-exporter", "health"]


@pytest.mark.parametrize("image", [EXPORTER, APP], ids=["exporter", "app"])
def test_it_has_no_installer_and_nothing_that_gives_rights(engine, image):
    shell = ["run", "--rm", "--entrypoint", "sh", image, "-c"]
    assert (
        engine.podman(*shell, "find /opt -perm /6000 -o -name 'pip*' -o -name __pycache__ -empty")
        == ""
    )


def test_it_runs_as_documented_without_being_told_anything(engine):
    """The documents do just that; there is no Redis at the name that the image has for it."""
    published = ["--publish", "9091:9091"]
    engine.podman("run", "--detach", "--rm", "--name", "exporter", *published, EXPORTER)
    wait(lambda: fetch("http://127.0.0.1:9091/-/healthy")[0] == 200, "it answers")
    wait(scrape, "it is scraped")
    assert total("gunicorn_sidecar_redis_connected", scrape()) == 0
    engine.podman("run", "--rm", "--network", "host", EXPORTER, "health")
    doctor = ["exec", "exporter", "gunicorn-prometheus-exporter", "doctor"]
    findings = engine.podman(*doctor, check=False)
    assert "storage: Redis at redis-service:6379" in findings
