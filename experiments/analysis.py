"""The result of an analysis of a pair."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Analysis:
    """An analysis: its sentences, the data that `evaluation.report.analysis_plots` draws, and a table."""

    sentences: list[str]
    data: dict
    columns: list[str]
    rows: list[list[str]]
