"""Make what the tests of containers need of the network: `python stand_ins.py FOLDER`, as root.

They run where no registry can be reached: root file systems of Debian stand for the images of
Python, Redis and Prometheus, and wheels for the package index.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

#: Which packages are in which root file system.
PACKAGES = {
    "python": ["ca-certificates", "python3", "python3-venv"],
    "services": ["prometheus", "redis-server"],
}
SUITE, PYTHON = "bookworm", "3.11"
UNUSED = ("doc", "info", "locale", "man")
REQUIREMENTS = Path("deploy", "docker", "app", "requirements.txt")  # with those of the exporter


def root_file_system(name: str, folder: Path) -> None:
    tar = folder / f"{name}.tar"
    if tar.exists():
        return
    unfinished = folder / f"{name}.unfinished.tar"
    command = ["mmdebstrap", "--quiet", "--variant=minbase"]
    command += [f"--include={','.join(PACKAGES[name])}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{unused}/*" for unused in UNUSED]
    subprocess.run([*command, SUITE, unfinished], check=True)
    unfinished.rename(tar)


def wheels(folder: Path) -> None:
    # pip asks the Python that runs it what a marker means, not the one that it loads for.
    wanted = re.sub(r" ; [^\\]+", " ", REQUIREMENTS.read_text())
    done = folder / "requirements.txt"
    if done.exists() and done.read_text() == wanted:
        return
    unfinished = folder / "requirements.unfinished.txt"
    unfinished.write_text(wanted)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    pip += ["--only-binary=:all:", f"--python-version={PYTHON}", "--dest", folder / "wheels"]
    subprocess.run([*pip, "--requirement", unfinished], check=True)
    unfinished.rename(done)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    wheels(folder)
    for name in PACKAGES:
        root_file_system(name, folder)


if __name__ == "__main__":
    main()
