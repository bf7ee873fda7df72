"""Write the reference tables of the documentation from the code that they are about.

    python docs/generate.py            # bring the tables up to date
    python docs/generate.py --check    # fail if one is not

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`; the rest of a page is
written by hand.
"""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from gunicorn_prometheus_core.catalogue import FAMILIES, RESTART_TYPES, Family
from gunicorn_prometheus_core.settings import DECLARATIONS, ROOT, default, shown
from gunicorn_prometheus_exporter.commands import parser

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = ("docs/reference/commands.md", "docs/reference/metrics.md", "docs/reference/settings.md")

CAUSES = {
    "reload": "HUP, or `reload` found a changed file",
    "scale_down": "TTOU or WINCH, or fewer workers after a reload",
    "shutdown": "the server was told to end",
    "exit": "it ended by itself without an error, or somebody else's SIGTERM made it",
    "max_requests": "it has handled `max_requests` requests",
    "timeout": "no heartbeat for longer than `timeout`",
    "killed": "SIGKILL from outside, such as the kernel's for lack of memory",
    "crash": "another signal, or an exit status other than 0",
    "boot_error": "an error while it started (exit status 3)",
    "load_error": "the application could not be found or imported (exit status 4)",
    "unknown": "its exit status was taken by somebody else",
}

GROUPS = {
    "requests": ("gunicorn_http_",),
    "workers": ("gunicorn_worker",),
    "master": ("gunicorn_master_", "gunicorn_listener_", "gunicorn_dirty_"),
    "exporter": ("gunicorn_exporter_",),
    "sidecar": ("gunicorn_sidecar_",),
}


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell for cell in line) + " |" for line in lines)


def code(text: object) -> str:
    """Text as code in a table cell."""
    return "`" + str(text).replace("|", r"\|") + "`"


def codes(texts: Iterable[object]) -> str:
    """Several of them, separated by commas."""
    return ", ".join(map(code, texts))


def group_of(family: Family) -> str:
    """The group of the reference that a family belongs to."""
    return next(name for name, prefixes in GROUPS.items() if family.name.startswith(prefixes))


def families(group: str) -> str:
    """The families of one group."""
    rows = (
        (code(family.name), family.type, codes(family.labels), family.help)
        for family in FAMILIES
        if group_of(family) == group
    )
    return table(("name", "type", "labels", "what it is"), rows)


def buckets() -> str:
    """The bucket bounds of all histograms."""
    rows = (
        (code(family.name), ", ".join(f"{bound:.15g}" for bound in family.buckets))
        for family in FAMILIES
        if family.type == "histogram"
    )
    return table(("histogram", "upper bounds, beside +Inf"), rows)


def causes() -> str:
    """Why workers end, and the type of restart that each counts as."""
    if CAUSES.keys() != RESTART_TYPES.keys():
        sys.exit(f"explain these causes here: {sorted(CAUSES.keys() ^ RESTART_TYPES.keys())}")
    rows = ((code(cause), code(RESTART_TYPES[cause]), text) for cause, text in CAUSES.items())
    return table(("`cause`, `reason`", "`restart_type`", "the worker ended because"), rows)


def settings() -> str:
    """Every setting."""
    rows = []
    for name, declared in DECLARATIONS.items():
        value = shown(default(name))
        allowed = declared.kind.allowed.replace("|", r"\|")
        rows.append(
            (
                f"{code(declared.variable)}<br>{code(declared.path.removeprefix(f'{ROOT}.'))}",
                f"{declared.help}<br>Allowed: {allowed}.<br>"
                f"Default: {code(value) if value else 'not set'}.",
            )
        )
    return table(("variable, in YAML", "meaning"), rows)


def parsers() -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """The commands: what each is for, and the parser of its arguments."""
    (commands,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    about = {one.dest: one.help or "" for one in commands._choices_actions}
    return {name: (about[name], one) for name, one in commands.choices.items()}


def commands() -> str:
    """Every command."""
    rows = (
        (
            f"[`{name}`](#{name})" if len(arguments(name).splitlines()) > 2 else code(name),
            f"{about}.",
        )
        for name, (about, _) in parsers().items()
    )
    return table(("command", "what it does"), rows)


def arguments(command: str) -> str:
    """The arguments of a command, but for those that all have."""
    rows = []
    for action in parsers()[command][1]._actions:
        if {"--help", "--config"} & set(action.option_strings):
            continue
        value = "|".join(action.choices or ()) or action.metavar or action.dest.upper()
        names = action.option_strings[-1:] or [""]
        shown = " ".join(filter(None, [*names, "" if action.nargs == 0 else str(value)]))
        help = " ".join((action.help or "").split())
        variable = re.search(r" \((\w+)\)$", help)
        text = f"for the setting `{variable[1]}`" if variable else help
        rows.append((code(shown), text))
    return table(("argument", "meaning"), rows)


TABLES = {
    "settings": settings,
    "commands": commands,
    **{f"arguments, {name}": lambda name=name: arguments(name) for name in parsers()},
    "causes": causes,
    "buckets": buckets,
    **{f"metrics, {group}": lambda group=group: families(group) for group in GROUPS},
}

_PLACE = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def generated(text: str) -> str:
    """The page with its tables as they should be."""
    return _PLACE.sub(lambda place: f"{place[1]}\n{TABLES[place[2]]()}\n\n{place[3]}", text)


def main() -> None:
    """See the module's docstring."""
    program = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    program.add_argument("--check", action="store_true", help="change nothing, fail if out of date")
    program.add_argument("--root", type=Path, default=REPOSITORY, help="where the pages are")
    given = program.parse_args()
    outdated = []
    for page in PAGES:
        path = given.root / page
        before = path.read_text()
        after = generated(before)
        if after != before:
            outdated.append(page)
            if not given.check:
                path.write_text(after)
    if given.check and outdated:
        sys.exit(f"out of date: {', '.join(outdated)}; run python docs/generate.py")


if __name__ == "__main__":
    main()
