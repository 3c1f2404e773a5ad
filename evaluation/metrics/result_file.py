"""The fields of `result.json` that comparisons and sweeps use."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from evaluation.records import Record
from settings.kinds import Kind, Number, Text
from settings.lists import ListOf
from settings.types import BatchSize, Draws, Words


@dataclass(frozen=True)
class Measured(Kind):
    """Numbers, NaN among them: the deviation over one draw."""

    one: str = "a number"
    several: str = "numbers"

    def accepts(self, value: object) -> bool:
        return type(value) in (int, float)


@dataclass(frozen=True)
class Bounds(Kind):
    """The two ends of an interval."""

    one: str = "a list of two numbers"
    several: str = "lists of two numbers"

    def accepts(self, value: object) -> bool:
        return isinstance(value, list) and len(value) == 2 and all(map(Measured().accepts, value))


class SpreadRecord(Record):
    """A value, its deviation by chance and its 95% interval."""

    value: Annotated[float, Measured()]
    std: Annotated[float, Measured()]
    interval95: Annotated[list, Bounds()]


class EvaluationRecord(Record):
    """The settings of an evaluation; those that it did not need are null or missing."""

    extractor: Words | None = None
    extractor_weights: Words | None = None
    reference: Words | None = None
    metrics: Annotated[list, ListOf(Text(), shortest=0)] | None = None
    bootstrap: Draws | None = None
    batch_size: BatchSize | None = None
    clip: Words | None = None


class ScoredWith(EvaluationRecord):
    """The settings of an evaluation that was made: its metrics are known."""

    metrics: Annotated[list, ListOf(Text(), shortest=0)]


class ResultRecord(Record):
    """The scores of a set of images, and what they were made with."""

    metrics: dict[str, Annotated[float, Number()]]
    protocol: dict[str, object]
    spread: dict[str, SpreadRecord] = Field(default_factory=dict)
    asked: EvaluationRecord | None = None
    run_id: Words | None = None
    images_sha256: Words | None = None
