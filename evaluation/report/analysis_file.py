"""The fields of an analysis's JSON file, and of the data of each kind."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from evaluation.metrics.result_file import Measured
from evaluation.records import Record
from settings.base import complain
from settings.kinds import Number, OneOf, Text, Whole
from settings.lists import ListOf
from settings.types import Count, Words

Timesteps = Annotated[list, ListOf(Whole(0))]
Values = Annotated[list, ListOf(Measured())]  # the deviation over one image is NaN


class IdentityRecord(Record):
    """The settings of an analysis that its sentences and its picture name."""

    analysis: Annotated[str, OneOf(("similarity", "spectrum", "error", "disagreement", "oracle", "schedules"))]
    num_images: Count


class AnalysisRecord(Record):
    """An analysis: what was analysed, of which pair, what was found, and the data that are drawn."""

    identity: IdentityRecord
    pair: Words
    found: Annotated[list, ListOf(Text())]
    data: dict


class CurveRecord(Record):
    """A value by step or by fraction: a name, means and deviations."""

    label: Words
    mean: Values
    std: Values


class SimilarityRecord(Record):
    """Curves over the timestep, by the title of their panel."""

    timesteps: Timesteps
    panels: Annotated[dict[str, list[CurveRecord]], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        for curve in (curve for curves in self.panels.values() for curve in curves):
            check_lengths(curve, len(self.timesteps), "timesteps")
        return self


class SpectrumRecord(Record):
    """Log amplitude by frequency, for each step."""

    timesteps: Timesteps
    log_amplitude: Annotated[list, ListOf(ListOf(Number()))]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        lengths = {len(row) for row in self.log_amplitude}
        if len(self.log_amplitude) != len(self.timesteps) or len(lengths) != 1:
            raise complain(f"must have a row of one length for each of its {len(self.timesteps)} timesteps")
        return self


class ErrorRecord(Record):
    """The error by the fractions of the steps."""

    fractions: Annotated[list, ListOf(ListOf(Number(0, 1)))]
    curve: CurveRecord

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        check_lengths(self.curve, len(self.fractions), "fractions")
        return self


class DisagreementRecord(Record):
    """The disagreement of each smaller model with the large one by step, and the solver's weight of each step."""

    timesteps: Timesteps
    weights: Annotated[list, ListOf(Number(0))]
    curves: Annotated[list[CurveRecord], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        for curve in self.curves:
            check_lengths(curve, len(self.timesteps), "timesteps")
        if len(self.weights) != len(self.timesteps):
            raise complain(f"must have a weight for each of its {len(self.timesteps)} timesteps")
        return self


class OracleRecord(Record):
    """The mean error by the fraction for all images, and by the mean fraction of an oracle."""

    fractions: Annotated[list, ListOf(Number(0, 1))]
    error: Annotated[list, ListOf(Number(0))]
    oracle_fractions: Annotated[list, ListOf(Number(0, 1))]
    oracle_error: Annotated[list, ListOf(Number(0))]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        for fractions, error in ((self.fractions, self.error), (self.oracle_fractions, self.oracle_error)):
            if len(fractions) != len(error):
                raise complain(f"must have an error for each of its {len(fractions)} fractions, got {len(error)}")
        return self


class SchedulesRecord(Record):
    """The error of schedules by the fraction of the small model, for each rule that chooses one."""

    fractions: Annotated[list, ListOf(Number(0, 1))]
    errors: Annotated[dict[str, Annotated[list, ListOf(Number(0))]], Field(min_length=1)]
    correlation: Annotated[float, Number(-1, 1)]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        for name, values in self.errors.items():
            if len(values) != len(self.fractions):
                raise complain(f"must have an error for each of its {len(self.fractions)} fractions, not so {name}")
        return self


DATA: dict[str, type[Record]] = {
    "similarity": SimilarityRecord,
    "spectrum": SpectrumRecord,
    "error": ErrorRecord,
    "disagreement": DisagreementRecord,
    "oracle": OracleRecord,
    "schedules": SchedulesRecord,
}


def check_lengths(curve: CurveRecord, num: int, over: str) -> None:
    """Raise pydantic's error unless a curve has a mean and a deviation for each of `num` places."""
    if {len(curve.mean), len(curve.std)} != {num}:
        raise complain(
            f"must have a mean and a std for each of its {num} {over}, got {len(curve.mean)} and {len(curve.std)}"
        )
