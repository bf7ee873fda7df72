"""Check versions, changelogs, and what our distributions ask of each other.

python scripts/check_release.py              # what has to be so at any time
python scripts/check_release.py --final      # and before all is published: nothing is unreleased
python scripts/check_release.py --tag TAG    # before one is published: the tag is of its version
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parent.parent


def projects(root: Path) -> dict[str, tuple[Path, dict]]:
    """The folder and the metadata of each distribution, by name."""
    folders = [root, *sorted(path.parent for path in root.glob("packages/*/pyproject.toml"))]
    metadata = [tomllib.loads((one / "pyproject.toml").read_text())["project"] for one in folders]
    return {one["name"]: (folder, one) for folder, one in zip(folders, metadata, strict=True)}


def version_of(project: dict) -> Version | None:
    """Its version; None for what isn't one."""
    try:
        return Version(project["version"])
    except InvalidVersion:
        return None


def requirements(project: dict) -> Iterator[Requirement]:
    """What it asks for, its extras included."""
    lists = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    for texts in lists:
        yield from map(Requirement, texts)


def complaints(root: Path, *, final: bool) -> Iterator[str]:
    """Everything that is not as it should be."""
    known = projects(root)
    for name, (folder, project) in known.items():
        version = version_of(project)
        if version is None or version.local:
            yield f"{name}: {project['version']!r} is no version to publish"
            continue
        changes = (folder / "CHANGELOG.md").read_text()
        newest = re.search(r"^## \[(.+?)\] - (Unreleased|\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)
        if newest is None or newest[1] != str(version):
            said = "none" if newest is None else newest[1]
            yield f"{name}: is {version}, and the newest section of its CHANGELOG.md is {said}"
        elif final and newest[2] == "Unreleased":
            yield f"{name}: {version} has no date in its CHANGELOG.md"
        if re.search(r"^[<=>]{7}( |$)", changes, re.MULTILINE):
            yield f"{name}: a merge has left its marks in the CHANGELOG.md"
        for file in ("README.md", "LICENSE"):
            if not (folder / file).is_file():
                yield f"{name}: has no {file}"
        (package,) = (folder / "src").iterdir()
        if not (package / "py.typed").exists():
            yield f"{name}: {package.name} has no py.typed"
        yield from about_requirements(name, project, known)


def about_requirements(
    name: str, project: dict, known: dict[str, tuple[Path, dict]]
) -> Iterator[str]:
    """What is wrong with the ranges that a distribution asks for."""
    for wanted in requirements(project):
        if wanted.name not in known:
            if not wanted.specifier and wanted.name != "tomli":
                yield f"{name}: asks for {wanted.name} without the lowest version that works"
            continue
        present = version_of(known[wanted.name][1])
        if wanted.name == name or present is None or not wanted.specifier:
            continue  # an extra of its own, or of what it depends on anyway
        if not wanted.specifier.contains(present, prereleases=True):
            yield f"{name}: asks for {wanted}, which is {present}"
        # Before 1.0 a new minor version may change what the others go by.
        breaking = f"0.{present.minor + 1}" if present.major == 0 else f"{present.major + 1}"
        if wanted.specifier.contains(breaking, prereleases=True):
            yield f"{name}: asks for {wanted}, which {breaking} would be, too"


def about_tag(root: Path, tag: str) -> Iterator[str]:
    """What is wrong with publishing what a tag names."""
    known = projects(root)
    name, _, version = tag.rpartition("-v")
    if name not in known:
        yield f"{tag}: must be the name of a distribution, -v and its version"
        return
    folder, project = known[name]
    if version != project["version"]:
        yield f"{tag}: {name} is {project['version']}"
    changes = (folder / "CHANGELOG.md").read_text()
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE):
        yield f"{tag}: {version} has no date in the CHANGELOG.md of {name}"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--final", action="store_true", help="nothing may be unreleased")
    parser.add_argument("--tag", help="what this tag names is to be published")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="where the sources are")
    arguments = parser.parse_args()
    found = list(complaints(arguments.root, final=arguments.final))
    if arguments.tag:
        found += about_tag(arguments.root, arguments.tag)
    if found:
        sys.exit("\n".join(found))
    print("versions, changelogs and ranges go together")


if __name__ == "__main__":
    main()
