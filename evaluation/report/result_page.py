"""A page of tables with one picture and one CSV file, in a directory."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from evaluation.report.figures import save
from evaluation.report.render import Table, comma_separated
from tstitch.runs.atomic import write_atomically
from tstitch.runs.outputs import check_output


@dataclass(frozen=True)
class ResultPage:
    """The files `NAME.md`, `NAME.csv` and `NAME.png` of a directory."""

    directory: Path
    name: str

    @property
    def path(self) -> Path:
        return self._file("md")

    def check(self, what: str) -> None:
        """Raise `UserError` where the files cannot be written, or are something else than `what`."""
        check_output(self.path, what, beside=[self._file("csv"), self._file("png")])

    def write(self, text: str, table: Table, drawn: Figure, caption: str) -> None:
        """Write the page, with the picture at its end, and the table as CSV."""
        self.directory.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file("csv"), comma_separated(table).encode())
        save(drawn, self._file("png"))
        write_atomically(self.path, f"{text}\n![{caption}]({self._file('png').name})\n".encode())

    def _file(self, suffix: str) -> Path:
        return self.directory / f"{self.name}.{suffix}"
