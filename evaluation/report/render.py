"""A table, and its text as Markdown, CSV or LaTeX."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field

Cell = str | float | None
NO_VALUE = "-"
LATEX_SPECIAL = {"\\": r"\textbackslash{}", **{c: f"\\{c}" for c in "&%$#_{}"}, "~": r"\textasciitilde{}", "^": r"\^{}"}


@dataclass(frozen=True)
class Table:
    """A finished table.

    Attributes:
        rows: a cell for each column: text, a number, or None where there is no value.
        headings: of the columns that pages show under another text than their name.
        formats: of the numbers of a column on pages, `.4g` without one; a CSV file has all digits.
    """

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    notes: list[str]
    headings: dict[str, str] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)

    @property
    def shown_columns(self) -> list[str]:
        """List the heading of each column."""
        return [self.headings.get(column, column) for column in self.columns]

    @property
    def shown_rows(self) -> list[list[str]]:
        """List the rows as text."""
        formats = [self.formats.get(column, ".4g") for column in self.columns]
        return [[_shown(cell, form) for cell, form in zip(row, formats, strict=True)] for row in self.rows]


def _shown(cell: Cell, form: str) -> str:
    if cell is None:
        return NO_VALUE
    return cell if isinstance(cell, str) else f"{cell:{form}}"


def markdown(table: Table) -> str:
    """Write a heading, the table and the notes as Markdown."""
    lines = [f"## {table.title}", ""]
    if table.rows:
        columns = table.shown_columns
        lines += [_row(columns), _row(["---"] * len(columns)), *map(_row, table.shown_rows), ""]
    return "\n".join([*lines, *(f"{note}\n" for note in table.notes)])


def comma_separated(table: Table) -> str:
    """Write the columns' names and the rows as CSV, numbers with all their digits."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.columns, *table.rows])
    return text.getvalue()


def latex(table: Table) -> str:
    """Write a `table` environment with booktabs' rules."""
    rows = [" & ".join(map(_escape, row)) + r" \\" for row in (table.shown_columns, *table.shown_rows)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape(table.title)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\toprule",
            rows[0],
            r"\midrule",
            *rows[1:],
            r"\bottomrule",
            r"\end{tabular}",
            *(f"% {note}" for note in table.notes),
            r"\end{table}",
            "",
        ]
    )


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _escape(text: str) -> str:
    return "".join(LATEX_SPECIAL.get(character, character) for character in text)


FORMATS: dict[str, Callable[[Table], str]] = {"md": markdown, "csv": comma_separated, "tex": latex}
