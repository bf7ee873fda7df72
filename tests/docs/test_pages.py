"""What the pages say is so: tables, links, names, messages, queries."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path

import pytest
from gunicorn.util import load_class

import gunicorn_prometheus_exporter as facade
from gunicorn_prometheus_core.catalogue import FAMILIES
from gunicorn_prometheus_core.configuration import FILE_VARIABLE
from gunicorn_prometheus_core.settings import DECLARATIONS

#: Settings that the examples of storage backends declare.
OF_EXAMPLES = {
    "GUNICORN_PROMETHEUS_FOLDER_PATH",
    "GUNICORN_PROMETHEUS_SQLITE_PATH",
    "GUNICORN_PROMETHEUS_SQLITE_TTL_SECONDS",
}
#: Counters that keep the names they were documented with: docs/adr/0005.
DOCUMENTED = ("gunicorn_worker_failed_requests", "gunicorn_worker_error_handling")
GENERATED = (
    "docs/reference/commands.md",
    "docs/reference/metrics.md",
    "docs/reference/settings.md",
    "docs/how-to/alerts-and-dashboards.md",
)


def generate(repository: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, repository / "docs/generate.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_tables_are_up_to_date(repository: Path) -> None:
    done = generate(repository, "--check")
    assert done.returncode == 0, done.stderr


def test_an_outdated_table_is_found_and_mended(repository: Path, tmp_path: Path) -> None:
    for page in GENERATED:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / page, tmp_path / page)
    page = tmp_path / "docs/reference/metrics.md"
    right = page.read_text()
    page.write_text(right.replace("Worker processes alive.", "Something else."))

    check = generate(repository, "--check", "--root", tmp_path)
    assert check.returncode == 1
    assert "docs/reference/metrics.md" in check.stderr
    assert "docs/reference/settings.md" not in check.stderr

    for _ in range(2):  # doing it again changes nothing
        assert generate(repository, "--root", tmp_path).returncode == 0
        assert page.read_text() == right


def test_links_lead_somewhere(repository: Path) -> None:
    patterns = ("*.md", "docs/**/*.md", "packages/*/*.md", "examples/**/*.md", "benchmarks/*.md")
    broken = []
    for path in (path for pattern in patterns for path in repository.glob(pattern)):
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text())):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            to = (path.parent / file).resolve() if file else path
            inside = anchor if to.suffix == ".md" else ""  # others know no headings
            if not to.exists() or (inside and inside not in anchors(to.read_text())):
                broken.append(f"{path.relative_to(repository)}: {target}")
    assert not broken


def test_no_page_has_an_unresolved_merge(repository: Path) -> None:
    patterns = ("*.md", "docs/**/*.md", "packages/*/*.md", "examples/**/*.md", "benchmarks/*.md")
    pages = [path for pattern in patterns for path in repository.glob(pattern)]
    marker = re.compile("^(<{7}|>{7}) ", re.MULTILINE)
    assert not [str(page) for page in pages if marker.search(page.read_text())]


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_metric_that_is_named_exists(pages: dict[str, str]) -> None:
    known = {name for family in FAMILIES for name in (family.name, family.storage_name)}
    known |= {
        f"{family.name}_{suffix}"
        for family in FAMILIES
        if family.type == "histogram"
        for suffix in ("bucket", "count", "sum")
    }
    for page, text in pages.items():
        own = re.sub(r"\w+:gunicorn_\w+:\w+", "", text)  # without what rules record
        named = set(re.findall(r"\bgunicorn_(?!prometheus|metrics_)[a-z_]+[a-z]\b", own))
        if page == "docs/how-to/from-0.2.md":
            named -= {f"{name}_total" for name in DOCUMENTED}  # as 0.2.4 called them
        assert named <= known, page


def test_every_setting_that_is_named_exists(pages: dict[str, str]) -> None:
    known = {declared.variable for declared in DECLARATIONS.values()}
    known |= {f"{declared.variable}_FILE" for declared in DECLARATIONS.values() if declared.secret}
    known |= {FILE_VARIABLE} | OF_EXAMPLES
    pattern = r"\b(?:GUNICORN_PROMETHEUS|PROMETHEUS|REDIS|SIDECAR|CLEANUP)_[A-Z_]*[A-Z]\b"
    for page, text in pages.items():
        assert set(re.findall(pattern, text)) <= known, page


def test_every_worker_class_that_is_named_exists(pages: dict[str, str]) -> None:
    named = {
        name
        for text in pages.values()
        for name in re.findall(r'(?:-k |worker_class = ")(gunicorn_prometheus[\w.]+)', text)
    }
    assert named
    for name in named:
        assert load_class(name).__name__ in name


def test_the_page_about_workers_has_every_worker_and_its_extra(
    repository: Path, pages: dict[str, str]
) -> None:
    rows = re.findall(
        r"^\| .*? \| `(\w+)` \| (?:`(\w+)`)? ?\|", pages["docs/how-to/workers.md"], re.MULTILINE
    )
    workers = {name for name in facade.__all__ if re.fullmatch("Prometheus.*Worker", name)}
    assert {name for name, _ in rows} == workers
    code = "import sys, gunicorn_prometheus_exporter as facade\n"
    code += "for name in sys.argv[1:]: print(getattr(facade, name).__module__)"
    command = [sys.executable, "-W", "ignore", "-c", code, *(name for name, _ in rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    parts = [module.rpartition(".")[2] for module in done.stdout.split()]
    extras = metadata("gunicorn-prometheus-exporter").get_all("Provides-Extra")
    assert [extra for _, extra in rows] == [part if part in extras else "" for part in parts]


def test_the_readme_names_every_distribution(repository: Path, pages: dict[str, str]) -> None:
    readme = pages["README.md"]
    folders = sorted(path.parent.name for path in repository.glob("packages/*/pyproject.toml"))
    assert sorted(re.findall(r"\(packages/(.+?)\)", readme)) == folders
    (command,) = re.findall(r"^pip install (.+)$", readme, re.MULTILINE)
    assert command == "./packages/* ."


def test_make_demo_runs_the_demo(repository: Path) -> None:
    command = ["make", "--dry-run", "--assume-old=.venv/installed", "demo"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert "examples/demo/run.py" in done.stdout


def test_prometheus_understands_the_queries(pages: dict[str, str], tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is missing: scripts/system-packages.sh")
        pytest.skip("promtool is missing: scripts/system-packages.sh")
    queries = [
        query
        for text in pages.values()
        for query in re.findall(r"^```promql\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]
    in_tables = r"`((?:sum|max|histogram_quantile)\b[^`]*gunicorn_[^`]*)`"
    found = [query for text in pages.values() for query in re.findall(in_tables, text)]
    queries += [query.replace(r"\|", "|") for query in found]  # as tables have it
    assert queries
    lines = ["groups: [{name: documented, rules: ["]
    lines += [f"{{record: 'q:{i}', expr: {as_yaml(query)}}}," for i, query in enumerate(queries)]
    rules = tmp_path / "rules.yml"
    rules.write_text("\n".join([*lines, "]}]"]))
    command = [promtool, "check", "rules", rules]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def as_yaml(text: str) -> str:
    quoted = " ".join(text.split()).replace("'", "''")
    return f"'{quoted}'"


# Messages. Each is a list of the literal pieces around what differs.

RAISED = {"SettingsError", "MissingPart", "StorageUnavailable", "TimeoutError", "CorruptPage"}
RAISED |= {"ImportError"}
LOGGED = {"info", "warning", "error", "exception", "_complain", "once", "say"}


def test_every_message_is_explained(repository: Path, pages: dict[str, str]) -> None:
    page = pages["docs/how-to/troubleshooting.md"]
    quoted = set(re.findall(r"`([^`\n]+)`", page))
    headings = set(re.findall(r"^\*\*`([^`\n]+)`\*\*", page, re.MULTILINE))
    unexplained = []
    for place, pieces in messages(repository):
        pattern = re.compile(".+".join(map(re.escape, pieces)))
        found = {text for text in quoted if pattern.fullmatch(text)}
        headings -= found
        if not found:
            unexplained.append(f"{place}: {' ... '.join(pieces)}")
    assert not unexplained
    assert not headings, "nothing says this any more"


def messages(repository: Path) -> Iterator[tuple[str, list[str]]]:
    sources = [*repository.glob("packages/*/src/**/*.py"), *repository.glob("src/**/*.py")]
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and name_of(node.func) in LOGGED:
                # Before the message there can be a topic.
                texts = [pieces for arg in node.args if (pieces := pieces_of(arg))][-1:]
            elif (
                isinstance(node, ast.Raise)
                and isinstance(node.exc, ast.Call)
                and name_of(node.exc.func) in RAISED
            ):
                texts = [pieces_of(node.exc.args[0])]
            else:
                continue
            for pieces in texts:
                if any(piece.strip() for piece in pieces):
                    yield f"{path.relative_to(repository)}:{node.lineno}", pieces


def name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def pieces_of(text: ast.expr) -> list[str]:
    """The literal pieces of a message, an empty list for anything else."""
    if isinstance(text, ast.Constant) and isinstance(text.value, str):
        return re.split("%[sdr]", text.value)
    if isinstance(text, ast.JoinedStr):
        parts = ["\0" if isinstance(v, ast.FormattedValue) else v.value for v in text.values]
        return "".join(parts).split("\0")
    return []
