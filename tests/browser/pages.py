"""Pages opened in Debian's Chromium, offline."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'seedwise[dev]'")
    if not CHROMIUM.exists():
        if os.environ.get("SEEDWISE_BROWSER") == "required":
            pytest.fail(f"no {CHROMIUM}")
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page, with all that it said and asked for."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


Open = Callable[..., Opened]


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Open]:
    """Opens a file at a width in CSS pixels, notes console messages, errors and requests."""
    contexts = []

    def opened(path: Path, width: int = 1100, **options: Any) -> Opened:
        context = chromium.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        found.page.on("request", lambda request: found.asked.append(request.url))
        found.page.goto(path.resolve().as_uri())
        return found

    yield opened
    for context in contexts:
        context.close()
