"""Take the picture of the tutorial's plot, while everything of the tutorial runs.

python docs/_site/plot.py docs/tutorial.png

Needs `pip install playwright`, Chromium, and about five minutes of traffic before.
"""

import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PAGE = Path(__file__).resolve().parents[1] / "tutorial.md"


def main() -> None:
    """Open the link of the page, wait for the plot, and save what is seen."""
    link = re.search(r"http://127\.0\.0\.1:9095/graph\?[^)]+", PAGE.read_text())
    assert link is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(link[0])
        page.wait_for_selector("svg path", timeout=20_000)
        page.wait_for_timeout(1000)  # lines are drawn step by step
        page.screenshot(path=sys.argv[1], full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
