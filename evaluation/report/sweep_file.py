"""The fields of `sweep.json` that plots and tables use."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from evaluation.metrics.result_file import SpreadRecord
from evaluation.records import Record
from settings.base import complain
from settings.kinds import Number, Text, Whole
from settings.lists import ListOf, OneOrEach
from settings.types import Count, NotNegative, Seed, Words

Fractions = Annotated[list, ListOf(Number(0, 1))]
AskedFractions = Annotated[list, ListOf(Number(0, 1), shortest=0)]
GuidanceScale = Annotated[object, OneOrEach(Number())]
Metrics = dict[str, Annotated[float, Number()]]


class MachineRecord(Record):
    """Where a latency was measured."""

    device: Words = "an unknown machine"


class LatencyRecord(Record):
    """The time of an image: the median of the rounds, the fastest and the slowest, and the median's stages."""

    seconds_per_image: Annotated[float, Number(0, is_open=True)]
    seconds_per_image_min: NotNegative
    seconds_per_image_max: NotNegative
    stages_s_per_image: dict[str, NotNegative] = Field(default_factory=dict)
    machine: MachineRecord = MachineRecord()


class DifferenceRecord(SpreadRecord):
    """The difference of a point's FID from the large model's, with a verdict in words.

    `distance` is the root mean square difference of its images from the large model's own ones, in levels of 255.
    """

    verdict: Words
    distance: NotNegative | None = None


class AskedRecord(Record):
    """Settings that led to a point."""

    fractions: AskedFractions
    guidance_scale: GuidanceScale
    num_steps: Count
    order: Words
    rule: Words
    router: Words = "allocation"
    knob: Words | None = None


class PointRecord(Record):
    """A point of a sweep, as `evaluation.report.sweep.Point` holds it."""

    fractions: Fractions
    guidance_scale: GuidanceScale
    sampler: Words
    num_steps: Count
    order: Words
    rule: Words
    allocation: Annotated[list, ListOf(Whole(0), shortest=0)]
    metrics: Metrics
    latency: LatencyRecord
    spread: dict[str, SpreadRecord] = Field(default_factory=dict)
    paired: DifferenceRecord | None = None
    run: Annotated[str, Text()] = ""
    asked: list[AskedRecord] = Field(default_factory=list)
    router: Words = "allocation"
    knob: Words | None = None
    evaluations: dict[str, NotNegative] = Field(default_factory=dict)
    decisions: dict[str, Annotated[list, ListOf(Whole(0))]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        """Refuse requests for another number of denoisers than took the steps."""
        for asked in self.asked:
            if asked.fractions and len(asked.fractions) != len(self.fractions):
                raise complain(f"must have as many fractions as each of its asked, got {self.fractions}")
        return self


class SamplerRecord(Record):
    """The sampler that all points share."""

    name: Words


class ProtocolRecord(Record):
    """The part of the points' shared protocol that sentences and tables name."""

    pair: Words
    num_images: Count
    seed: Seed
    precision: object
    device_name: Words
    sampler: SamplerRecord | None = None
    num_steps: Count | None = None
    reference_num_images: Count | None = None
    extractor: Words = "none"
    reference: Words = "none"


class SweepRecord(Record):
    """A sweep: its points, their protocol, and the overrides of the command that makes them."""

    points: list[PointRecord]
    protocol: ProtocolRecord
    overrides: Annotated[list, ListOf(Text(), shortest=0)]
