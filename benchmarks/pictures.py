"""The documents' pictures: of a study's report the verdicts and every seed, of a run's report its most telling parts.

    python benchmarks/pictures.py docs/results/reference-ablation-report.html [-o docs/results]
    python benchmarks/pictures.py --run RUN/report.html [-o docs/results]

Takes Debian's Chromium and playwright (`pip install -e ".[dev]"`). The pictures are verdict.png, forest.png and
seeds.png, and run-page.png with run-errors.png.
"""

import argparse
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
WIDTH, SCALE = 900, 2
FIGURES = {"forest": "#forest ~ figure", "seeds": "#seeds ~ figure"}
SECTIONS = {
    False: {"verdict": ["head"]},
    True: {"run-page": ["head", "confusion"], "run-errors": ["errors", "gradcam"]},
}
"""Of a study's and of a run's page the sections on each picture; the head is what stands before the first."""
LEAVE = """(parts) => {
  let shown = parts.includes("head");
  for (const part of [...document.querySelector("main").children]) {
    if (part.matches("h2")) shown = parts.includes(part.id);
    if (!shown || part.matches("nav, footer")) part.remove();
  }
  document.querySelectorAll("nav").forEach((part) => part.remove());
}"""
"""Takes every other section off the page."""


def main() -> None:
    """Open, take, write."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("report", type=Path)
    made.add_argument("-o", "--out", type=Path, default=Path("docs/results"))
    made.add_argument("--run", action="store_true", help="the report is a run's")
    options = made.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": WIDTH, "height": 900}, device_scale_factor=SCALE, color_scheme="light"
        )
        sections = SECTIONS[options.run]
        for name, place in (dict.fromkeys(sections, "main") | ({} if options.run else FIGURES)).items():
            page.goto(options.report.resolve().as_uri(), timeout=300_000)
            if name in sections:
                page.evaluate(LEAVE, sections[name])
            picture = options.out / f"{name}.png"
            page.locator(place).first.screenshot(path=str(picture))
            Image.open(picture).convert("P", palette=Image.Palette.ADAPTIVE).save(picture, optimize=True)  # a third
            print(picture)
        browser.close()


if __name__ == "__main__":
    main()
