"""The documents: links lead somewhere on GitHub and on the site, and what the site generates is complete."""

import functools
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.main import get_command

import seedwise
from seedwise.cli.app import app
from seedwise.config.options import Type, is_list
from seedwise.config.yaml12 import write_inline
from seedwise.recipe.schema import Recipe

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.M | re.S)


def module(name: str) -> Any:
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


HOOKS, GENERATED = module("hooks"), module("generated")


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of the headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", text)
    for target in (one or other for one, other in targets):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize(
    ("here", "target", "there"),
    [
        ("data.md", "audit.md#how", "audit.md#how"),
        ("data.md", "../ARCHITECTURE.md", "ARCHITECTURE.md"),
        ("results/reference-ablation.md", "../statistics.md", "../statistics.md"),
        ("results/reference-ablation.md", "../../CHANGELOG.md", "../CHANGELOG.md"),
        ("data.md", "../README.md", "README.md"),
        ("README.md", "results/forest.png", "results/forest.png"),
        ("README.ko.md", "docs/data.md", "data.md"),
        ("CONTRIBUTING.md", "ARCHITECTURE.md", "ARCHITECTURE.md"),
        ("data.md", "https://a.org/b.md", "https://a.org/b.md"),
        ("data.md", "#below", "#below"),
        ("data.md", "../studies/reference.yaml", None),
    ],
)
def test_a_link_of_the_repository_is_one_of_the_site(here: str, target: str, there: str | None) -> None:
    assert HOOKS.site_path(target, here) == there


def test_the_site_shows_titles_in_place_of_files_and_leaves_code_alone() -> None:
    text = "[data.md](data.md#a), [the cards](data.md), [LICENSE](../LICENSE), `[a](../b)`\n```\n[c](../d)\n```\n"
    assert HOOKS.linked(text, "audit.md", {"data.md": "Bring your data"}) == (
        "[Bring your data](data.md#a), [the cards](data.md), LICENSE, `[a](../b)`\n```\n[c](../d)\n```\n"
    )
    assert HOOKS.linked('<img src="docs/results/a.png">', "README.ko.md", {}) == '<img src="results/a.png">'


def documented(cls: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every option below a section, alternatives and a list's first item included, and its docstring: of one that is a
    section, the class's."""
    for name, field in cls.model_fields.items():
        kind = Type.of(field)
        below = kind.sections()
        yield f"{prefix}{name}", (inspect.getdoc(below[0]) if len(below) == 1 else field.description) or ""
        for section in below:
            yield from documented(section, f"{prefix}{name}.")
        for section in kind.item(0).sections() if any(is_list(each.annotation) for each in kind.members()) else ():
            yield from documented(section, f"{prefix}{name}.0.")


def _below(at: Any, name: str) -> Any:
    return at.get(name) if isinstance(at, dict) else None


def test_every_option_has_its_heading_its_default_and_its_docstring() -> None:
    text = GENERATED.options()
    sections = dict(re.findall(r"^#{2,4} `[^`]+` \{ #(\S+) \}\n(.*?)(?=^#{2,4} |\Z)", text, re.M | re.S))
    defaults = Recipe().model_dump(mode="json")
    options = list(documented(Recipe))
    assert {path for path, _ in options} == sections.keys()
    for path, docstring in options:
        assert docstring and GENERATED.prose(docstring) in sections[path], path
        value: Any = functools.reduce(_below, path.split("."), defaults)
        if value is not None and not isinstance(value, dict):  # null is also what is below a technique that is off
            assert f"Default: `{write_inline(value)}`" in sections[path], path
    assert {"optim.algorithm.momentum", "optim.schedule.gamma", "progressive.0.until"} <= set(sections)


def test_every_verb_has_its_heading_and_all_its_flags() -> None:
    text = GENERATED.verbs()

    def check(command: Any, name: str) -> None:
        for word, each in getattr(command, "commands", {}).items():
            section = text.partition(f"### `{name} {word}` ")[2].partition("\n### ")[0]
            assert section, word
            flags = [flag for it in each.params if it.param_type_name == "option" for flag in it.opts]
            assert [flag for flag in flags if flag not in section and flag not in ("-h", "--help")] == []
            check(each, f"{name} {word}")

    check(get_command(app), "seedwise")


def test_what_is_generated_needs_no_tensors() -> None:
    script = "import sys; sys.path[:0] = ['docs']; import generated as made; made.options(); made.verbs(); "
    script += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_reference_has_every_public_name() -> None:
    shown = re.findall(r"^::: seedwise\.(\w+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.M)
    assert set(shown) == set(seedwise.__all__) - {"__version__"}


@pytest.mark.parametrize("readme", ["README.md", "README.ko.md"])
def test_every_number_of_the_readmes_table_stands_on_the_page_beside_it(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.* \| .*\d.*) \| \[[^\]]+\]\((docs/[^)#]+)[^)]*\) \|$", text, re.M)
    assert len(rows) == 10
    for measured, page in rows:
        there = re.findall(r"\d[\d.,]*\d|\d", (ROOT / page).read_text(encoding="utf-8"))
        said = set(re.findall(r"\d[\d.,]*\d|\d", re.sub(r"`[^`]*`|CIFAR-100|top-1|kill -9", "", measured)))
        assert said <= set(there), (measured, said - set(there))
