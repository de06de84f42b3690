"""The README's two pictures: the verdicts with their forest plot, and every seed, of a study's report.

    python benchmarks/pictures.py docs/results/reference-ablation.html [-o docs/results]

Takes Debian's Chromium and playwright (`pip install -e ".[dev]"`). The pictures are forest.png and seeds.png.
"""

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
WIDTH, SCALE = 900, 2
FIGURES = {"forest": "#forest ~ figure", "seeds": "#seeds ~ figure"}


def main() -> None:
    """Open, take, write."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("report", type=Path)
    made.add_argument("-o", "--out", type=Path, default=Path("docs/results"))
    options = made.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": WIDTH, "height": 900}, device_scale_factor=SCALE, color_scheme="light"
        )
        page.goto(options.report.resolve().as_uri(), timeout=300_000)
        for name, place in FIGURES.items():
            picture = options.out / f"{name}.png"
            page.locator(place).first.screenshot(path=str(picture))
            print(picture)
        browser.close()


if __name__ == "__main__":
    main()
