"""Check the built site: every link inside leads somewhere, and nothing is loaded from elsewhere.

python docs/_site/check.py site
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Attributes whose value a browser loads by itself.
LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
#: Of <link>, these are loaded; a canonical address is not.
LOADED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "modulepreload"}


class Page(HTMLParser):
    """The anchors of a page, where it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        for name in ("href", "src"):
            if name not in given:
                continue
            if tag == "a":
                self.links.add(given[name])
            elif (tag, name) in LOADED and (
                tag != "link" or LOADED_LINKS & set(given.get("rel", "").split())
            ):
                self.loaded.add(given[name])


def complaints(root: Path) -> list[str]:
    """Everything that is not as it should be."""
    pages = {path: Page(path.read_text()) for path in sorted(root.rglob("*.html"))}
    if not pages:
        return [f"{root}: no pages"]
    found = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links begin with a slash, for it is shown anywhere
        place = path.relative_to(root)
        for url in sorted(page.loaded):
            if urlsplit(url).netloc:
                found.append(f"{place}: loads {url}")
        for url in sorted(page.links | page.loaded):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            anchor = unquote(parts.fragment)
            if not target.exists():
                found.append(f"{place}: nothing is at {url}")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                found.append(f"{place}: no such place on that page: {url}")
    return found


def main() -> None:
    """See the module's docstring."""
    root = Path(sys.argv[1]).resolve()
    found = complaints(root)
    if found:
        sys.exit("\n".join(found))
    print(f"{len(list(root.rglob('*.html')))} pages, and all links inside lead somewhere")


if __name__ == "__main__":
    main()
