"""The documentation as a site: builds it into site/, and checks what the builder does not.

Zensical in strict mode refuses a link to a page or a heading that is not there. This adds: each page stands in the
navigation once, whatever the built pages refer to is there, and they load nothing from elsewhere, so that whoever reads
them talks to nobody else.

``python -m scripts.site`` builds and checks; it ends with 1 and a line for each mistake.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = REPOSITORY / "zensical.toml"
DOCS = REPOSITORY / "docs"
SITE = REPOSITORY / "site"
VERBATIM = {"code", "pre", "script", "style"}
MARKDOWN = re.compile(r"(?<=\n)(?:\| ?:?--|[-*] \w|\d+\. \w).*")
"""A row of a table or an item of a list that is shown as text: GitHub reads it without an empty line before it, the
builder does not."""


@dataclass
class Page(HTMLParser):
    """What one built page has and refers to."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    verbatim: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort what the element refers to: loaded by itself, or only on a click."""
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        if "src" in given:
            self.loads.append(given["src"])
        if "href" in given:
            (self.loads if tag == "link" and given.get("rel") != "canonical" else self.links).append(given["href"])
        self.verbatim += tag in VERBATIM

    def handle_endtag(self, tag: str) -> None:
        """Leave what is shown as it is written."""
        self.verbatim -= tag in VERBATIM

    def handle_data(self, data: str) -> None:
        """Notice rows and items that were not read as such."""
        self.unread += [] if self.verbatim else MARKDOWN.findall(data)


def listed(navigation: list[Any]) -> Iterator[str]:
    """The pages in the navigation, in its order."""
    for entry in navigation:
        if isinstance(entry, str):
            yield entry
        else:
            for below in entry.values():
                yield from listed(below if isinstance(below, list) else [below])


def navigation_mistakes(navigation: list[Any], docs: Path) -> Iterator[str]:
    """Pages that nobody can reach, that are not there, or that stand in two places."""
    times = Counter(listed(navigation))
    there = {str(path.relative_to(docs)) for path in docs.rglob("*.md")}
    yield from (f"docs/{page} is not in the navigation of zensical.toml" for page in sorted(there - set(times)))
    yield from (f"the navigation of zensical.toml names {page}, which is not there" for page in times.keys() - there)
    yield from (f"the navigation of zensical.toml names {page} {n} times" for page, n in times.items() if n > 1)


def site_mistakes(site: Path) -> Iterator[str]:
    """What built pages load from elsewhere, and what they refer to and is not there."""
    pages = {path: _parsed(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    for path, page in pages.items():
        where = path.relative_to(site)
        yield from (f"{where} loads {target} from elsewhere" for target in page.loads if _is_elsewhere(target))
        yield from (f"{where} shows {text[:40]!r} as text: it needs an empty line before" for text in page.unread)
        for target in (*page.links, *page.loads):
            if not _is_elsewhere(target) and not _leads_somewhere(path, target, pages):
                yield f"{where} refers to {target}, which is not there"


def _parsed(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    return page


def _is_elsewhere(target: str) -> bool:
    parts = urlsplit(target)
    return parts.scheme not in {"", "data"} or bool(parts.netloc)


def _leads_somewhere(path: Path, target: str, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(target)
    if parts.scheme:
        return True
    file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    file = file / "index.html" if file.is_dir() else file
    fragment = unquote(parts.fragment)
    return file.is_file() and (not fragment or file not in pages or fragment in pages[file].ids)


def build(root: Path = REPOSITORY) -> str:
    """Build the site of this checkout anew. Returns what the builder complains about, or an empty text."""
    shutil.rmtree(root / SITE.name, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return readable(done.stdout + done.stderr) if done.returncode else ""


def readable(output: str) -> str:
    """The builder's output without its colours, which it does not switch off, and without its traceback."""
    return re.sub(r"\x1b\[[\d;]*m", "", output).partition("Traceback (most recent call last)")[0]


def main() -> int:
    """Return 0 when the site is built and right."""
    complaint = build()
    if complaint:
        sys.stderr.write(complaint)
        return 1
    navigation = tomllib.loads(SETTINGS.read_text())["project"]["nav"]
    mistakes = [*navigation_mistakes(navigation, DOCS), *site_mistakes(SITE)]
    sys.stderr.writelines(f"{mistake}\n" for mistake in mistakes)
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
