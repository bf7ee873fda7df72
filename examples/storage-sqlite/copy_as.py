"""Begin a storage backend with what works: this one, under another name.

python examples/storage-sqlite/copy_as.py lake ../gunicorn-metrics-lake
"""

import argparse
import re
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent


def renamed(text: str, name: str) -> str:
    """The text with our names in place of those of SQLite; the library keeps its own."""
    text = text.replace("sqlite3", "\0")
    for ours, theirs in (
        ("gunicorn_metrics_sqlite", f"gunicorn_metrics_{name}"),
        ("gunicorn-metrics-sqlite", f"gunicorn-metrics-{name}"),
        ("SQLITE_", f"{name.upper()}_"),
        ("sqlite", name),
        ("Sqlite", name.title()),
    ):
        text = text.replace(ours, theirs)
    return text.replace("\0", "sqlite3")


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="name of the backend, such as lake")
    parser.add_argument("target", type=Path, help="folder to make")
    arguments = parser.parse_args()
    if not re.fullmatch("[a-z][a-z0-9]*", arguments.name):
        parser.error(f"{arguments.name!r} must be lower-case letters and digits")
    if arguments.target.exists():
        parser.error(f"{arguments.target} is there already")
    ignored = shutil.ignore_patterns("__pycache__", ".*", Path(__file__).name)
    shutil.copytree(HERE, arguments.target, ignore=ignored)
    package = arguments.target / "src/gunicorn_metrics_sqlite"
    package.rename(package.with_name(f"gunicorn_metrics_{arguments.name}"))
    for path in arguments.target.rglob("*"):
        if path.is_file():
            path.write_text(renamed(path.read_text(), arguments.name))
    readme = arguments.target / "README.md"
    readme.write_text(f"# gunicorn-metrics-{arguments.name}\n\nA storage of Gunicorn metrics.\n")


if __name__ == "__main__":
    main()
