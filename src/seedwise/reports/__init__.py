"""Reports: the folder of a run, a study or an ensemble becomes one HTML file, without torch."""

from seedwise.reports.page import REPORT, leave_report, render, write_report
from seedwise.reports.words import LANGUAGES

__all__ = ["LANGUAGES", "REPORT", "leave_report", "render", "write_report"]
