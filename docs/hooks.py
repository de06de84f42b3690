"""How the site differs from docs/ on GitHub (mkdocs.yml names this file).

Documents of the repository's root are pages, too; links are rewritten to where their targets are on the site, and
what the site doesn't have stays as text; `<!-- options -->` and `<!-- verbs -->` become what generated.py makes; what
stands between `<!-- github -->` and `<!-- /github -->` goes.
"""

import posixpath
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROOT_PAGES = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.ko.md", "SECURITY.md")
ALONE = ("README.md", "start.md")
"""Pages without others beside them."""
_FILE = re.compile(r"(docs/)?[\w.-]+(\.md|/)")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
_PICTURE = re.compile(r"""(!\[[^\]]*\]\(|<img src=")([^)"\s]+)""")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.M | re.S)


def on_files(files: Any, config: Any) -> Any:
    """Add the documents of the root."""
    from mkdocs.structure.files import File

    for name in ROOT_PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put in what is generated, and turn links of the repository into links of the site."""
    sys.path[:0] = [str(ROOT / "docs")]
    import generated

    for name in ("options", "verbs"):
        if f"<!-- {name} -->" in markdown:
            markdown = markdown.replace(f"<!-- {name} -->", getattr(generated, name)())
    markdown = re.sub(r"<!-- github -->.*?<!-- /github -->", "", markdown, flags=re.S)
    if page.file.src_uri in ALONE:
        page.meta["hide"] = ["navigation"]
    titles = {each.src_uri: each.page.title for each in files if each.page is not None}
    return linked(markdown, page.file.src_uri, titles)


def linked(markdown: str, here: str, titles: Mapping[str, str]) -> str:
    """The text with its links for the site; `here` is the page's path there, `titles` are those of all pages.

    A link that shows a file's name shows the page's title instead.
    """

    def link(found: re.Match[str]) -> str:
        words, target = found.groups()
        place = site_path(target, here)
        if place is None:
            return words
        named = posixpath.normpath(posixpath.join(posixpath.dirname(here), place.partition("#")[0]))
        title = titles.get(named) if _FILE.fullmatch(words) else None
        return f"[{title or words}]({place})"

    def picture(found: re.Match[str]) -> str:
        return found[1] + (site_path(found[2], here) or found[2])

    parts = _CODE.split(markdown)
    parts[::2] = [_LINK.sub(link, _PICTURE.sub(picture, part)) for part in parts[::2]]
    return "".join(parts)


def site_path(target: str, here: str) -> str | None:
    """Where a link of the repository leads on the site, None where it has no such page."""
    if re.match(r"[a-z]+:|#", target):
        return target
    path, _, anchor = target.partition("#")
    home = "" if here in ROOT_PAGES else "docs"
    wanted = posixpath.normpath(posixpath.join(home, posixpath.dirname(here), path))
    if wanted.startswith("docs/"):
        wanted = wanted.removeprefix("docs/")  # one that is missing is left to mkdocs, which refuses it
    elif wanted not in (*ROOT_PAGES, "README.md"):  # whose place docs/README.md takes
        return None
    return posixpath.relpath(wanted, posixpath.dirname(here) or ".") + (f"#{anchor}" if anchor else "")
