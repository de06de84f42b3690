"""What these tests share; mypy, which takes one conftest.py only, checks it where it stands."""

from pages import chromium, open_page

__all__ = ["chromium", "open_page"]
