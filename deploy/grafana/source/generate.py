"""Write the dashboards that Grafana reads, from what stands in boards/.

python deploy/grafana/source/generate.py            # bring deploy/grafana/dashboards up to date
python deploy/grafana/source/generate.py --check    # fail if it is not
"""

import argparse
import json
import sys
from pathlib import Path

from boards import BOARDS
from rendering import dashboard

DASHBOARDS = Path(__file__).resolve().parents[1] / "dashboards"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if out of date")
    parser.add_argument("--into", type=Path, default=DASHBOARDS, help="folder of the dashboards")
    arguments = parser.parse_args()
    wanted = {f"gunicorn-{b.name}.json": json.dumps(dashboard(b), indent=2) + "\n" for b in BOARDS}
    there = {path.name: path.read_text() for path in arguments.into.glob("*.json")}
    outdated = sorted(name for name in wanted | there if wanted.get(name) != there.get(name))
    if arguments.check and outdated:
        sys.exit(
            f"out of date: {', '.join(outdated)}; run python deploy/grafana/source/generate.py"
        )
    for name in outdated:
        if name in wanted:
            (arguments.into / name).write_text(wanted[name])
        else:
            (arguments.into / name).unlink()


if __name__ == "__main__":
    main()
