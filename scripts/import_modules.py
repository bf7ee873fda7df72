"""Import every module and load every entry point of one installed distribution.

    python scripts/import_modules.py gunicorn-prometheus-core

A module for a part that isn't installed may refuse, if it says which `pip install` brings it.
Anything else, output of any kind included, is a failure: importing must have no effects.
"""

import contextlib
import importlib
import importlib.metadata
import io
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterator


def modules_of(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    """Names of all modules below the distribution's one package, `__main__` included."""
    package = distribution.name.replace("-", "_")
    yield package
    search = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(search, f"{package}.", onerror=lambda _name: None):
        yield module.name


def attempt(name: str, load: Callable[[], object]) -> bool:
    """Run `load`; tell whether it worked, False for a refusal that names the remedy."""
    try:
        load()
    except ImportError as error:
        if "pip install" not in str(error):
            raise
        print(f"  optional  {name}: {error}", file=sys.__stdout__)
        return False
    return True


def main() -> None:
    """Import it all, then fail if that printed something or started a thread."""
    distribution = importlib.metadata.distribution(sys.argv[1])
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        loaded = [
            attempt(name, lambda name=name: importlib.import_module(name))
            for name in modules_of(distribution)
        ]
        for entry_point in distribution.entry_points:
            attempt(str(entry_point), entry_point.load)
    if printed.getvalue():
        sys.exit(f"importing {distribution.name} printed: {printed.getvalue()}")
    if threading.active_count() > 1:
        sys.exit(f"importing {distribution.name} started {threading.enumerate()[1:]}")
    print(f"{distribution.name}: {sum(loaded)} of {len(loaded)} modules imported")


if __name__ == "__main__":
    main()
