"""Renders the folder of a run, a study or an ensemble as one self-contained HTML file."""

import base64
import functools
import hashlib
import sys
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from seedwise.base.errors import UserError
from seedwise.base.files import demand_writable, write_text
from seedwise.base.nearest import demand_folder
from seedwise.records.finished import is_ensemble
from seedwise.records.run import BAGGING, RECORD, STUDY
from seedwise.reports.read import read_run
from seedwise.reports.run_page import run_context
from seedwise.reports.shared import options
from seedwise.reports.words import Words

REPORT = "report.html"


def write_report(folder: Path, out: Path | None = None, language: str = "en") -> Path:
    """Write the report of a run, a study or an ensemble, by default as report.html in its folder; returns its path.

    The same records give the same bytes. A UserError says what is missing or damaged.
    """
    path = out or folder / REPORT
    if not path.is_file() and (out is not None or folder.is_dir()):  # one that is there may have its bytes already
        demand_writable(path, "an HTML file")
    content = render(folder, language)
    if not path.exists() or path.read_bytes() != content.encode():
        write_text(path, content)
    return path


def leave_report(folder: Path) -> Path | None:
    """Write the report of a folder that has just been completed; a failure is logged, and doesn't fail the run."""
    try:
        return write_report(folder)
    except UserError as error:
        print(f"no report: {error}", file=sys.stderr)
        return None


def render(folder: Path, language: str = "en") -> str:
    """The report of a run, a study or an ensemble as HTML."""
    words = Words(language)
    demand_folder(folder, "a run's, a study's or an ensemble's")
    if (folder / STUDY).exists():
        from seedwise.reports.study_page import study_context

        return render_page("study.html", words, study_context(folder, words))
    if is_ensemble(folder):
        from seedwise.reports.ensemble_page import ensemble_context

        return render_page("ensemble.html", words, ensemble_context(folder, words))
    if not (folder / RECORD).exists():
        if (folder / BAGGING).exists():
            raise UserError(f"{folder}: an ensemble whose members are not all trained; `seedwise resume` it first")
        raise UserError(f"{folder}: neither a run, a study nor an ensemble (it has no {RECORD} and no {STUDY})")
    run = read_run(folder)
    context = run_context(run, words)
    sections = {"techniques", "from"} | ({"curves"} if context["curves"] else set())
    sections |= {"scores"} if context["scores"] else set()
    sections |= {"confusion", "classes", "calibration", "errors"} if context["classes"] else set()
    sections |= {"gradcam"} if context.get("gradcam") else set()
    context |= {"sections": sections, "options": options(run.recipe), "split_name": context.get("split")}
    return render_page("run.html", words, context)


def render_page(name: str, words: Words, context: dict[str, Any]) -> str:
    """Render a template as a self-contained page."""
    environment = _environment()
    style, script = (Markup(_source(environment, file)) for file in ("style.css", "script.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template(name)
    text = page.render(t=words, style=style, script=script, script_hash=f"sha256-{digest}", **context)
    return text.encode(errors="replace").decode() + "\n"  # paths in it need not be UTF-8


@functools.cache
def _environment() -> Environment:
    """Which keeps the templates that it has compiled: a study writes a page for each of its runs."""
    loader = PackageLoader("seedwise.reports")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
