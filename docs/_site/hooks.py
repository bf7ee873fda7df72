"""What the site needs beyond MkDocs.

The pages are read in the repository as well, so they link to files outside of docs/ by relative
paths, and are plain Markdown. https://www.mkdocs.org/dev-guide/plugins/#events
"""

import os
import re
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"(\]\()(\.\./[^)\s#]+)((?:#[^)\s]*)?\))")
_BLOCK = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def on_config(config: Any) -> Any:
    """Let `folder/*` in the navigation stand for the pages of that folder, in order."""
    config.nav = [_expanded(item, Path(config.docs_dir)) for item in config.nav]
    return config


def _expanded(item: Any, docs: Path) -> Any:
    match item:
        case dict():
            return {title: _expanded(inner, docs) for title, inner in item.items()}
        case list():
            return [_expanded(inner, docs) for inner in item]
        case str() if item.endswith("/*"):
            return sorted(str(path.relative_to(docs)) for path in docs.glob(f"{item}.md"))
    return item


def on_page_markdown(markdown: str, page: Any, config: Any, **_kwargs: Any) -> str:
    """Let links out of docs/, and to folders, lead to the repository; make fences plain ones."""
    folder = Path(config.docs_dir, page.file.src_path).parent

    def outward(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / link[2]))
        if target.is_relative_to(config.docs_dir) and not target.is_dir():
            return link[0]
        kind = "tree" if target.is_dir() else "blob"
        return f"{link[1]}{config.repo_url}{kind}/main/{target.relative_to(REPOSITORY)}{link[3]}"

    pieces = _BLOCK.split(markdown)
    pieces[::2] = [_LINK.sub(outward, prose) for prose in pieces[::2]]
    # ```bash server: the second word is for the tests.
    pieces[1::2] = [
        re.sub(r"\A```(\w+) \w+$", r"```\1", block, flags=re.M) for block in pieces[1::2]
    ]
    return "".join(pieces)
