"""A container whose memory does not suffice."""

from __future__ import annotations

from .conftest import APP, HERE, Server, logs_on_failure, scrape, total, wait_total


def test_a_worker_that_is_killed_for_lack_of_memory_shows_as_killed(engine):
    limits = ["--memory", "192m", "--memory-swap", "192m", "--read-only", "--cap-drop", "all"]
    published = ["--publish", "8000:8000", "--publish", "9091:9091"]
    mounted = ["--volume", f"{HERE / 'hungry.py'}:/srv/app.py:ro", "--env", "SIDECAR_MODE=false"]
    engine.podman("run", "--detach", "--name", "app", *limits, *published, *mounted, APP)
    with logs_on_failure(engine, "app"):
        server = Server()
        for _ in range(20):
            assert server.send("/")[0] == 200
        assert server.send("/eat") == (0, "")
        wait_total(1, "gunicorn_worker_exits_total", cause="killed")
        wait_total(2, "gunicorn_workers")

        # It was the kernel, in the container, and the server has gone on.
        memory = "cat /sys/fs/cgroup/memory/memory.oom_control || cat /sys/fs/cgroup/memory.events"
        said = engine.podman("exec", "app", "sh", "-c", f"({memory}) 2>/dev/null")
        assert "oom_kill 1" in said.splitlines()
        for _ in range(20):
            assert server.send("/")[0] == 200
        wait_total(server.answered, "gunicorn_worker_requests_total")
        samples = scrape()
        assert total("gunicorn_worker_exits_total", samples) == 1
        assert total("gunicorn_worker_restart_total", samples, reason="killed") == 1
        assert engine.podman("inspect", "--format", "{{.State.Status}}", "app") == "running"
