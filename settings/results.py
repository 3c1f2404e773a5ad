"""The settings of the commands that read what others wrote: evaluate, compare, merge, report, ..."""

from typing import Annotated

from pydantic import Field, model_validator

from settings.base import Settings, refuse
from settings.fractions import MOST_POINTS, FractionsToSweep, count_fractions
from settings.kinds import OneOf, PathText, show
from settings.lists import ListOf
from settings.names import CLIP_SCORE, DATA_SETS, Device, ExperimentName, Extractor, Metrics, PaperName, Precisions
from settings.over_fractions import StepCounts
from settings.types import BatchSize, Count, Draws, NumSteps, PathName, Ranks, Switch, Words

Paths = Annotated[list[str], ListOf(PathText(), shortest=0, is_distinct=True)]
SomePaths = Annotated[list[str], ListOf(PathText(), is_distinct=True)]
MOST_DENOISERS = 3  # of the pairs of an experiment


class ExtractorDefaults(Settings):
    """Settings of an extractor, for those neither given nor recorded in a run."""

    extractor_weights: PathName = Field(description="file of the extractor")
    reference: PathName = Field(description="what is compared with")
    metrics: Metrics = Field(description="what is measured")
    bootstrap: Draws = Field(description="draws for the intervals")


class EvaluateSettings(Settings):
    """The settings of `scripts.evaluate`."""

    run: PathName | None = Field(
        description="directory of a run of ours: its images, with its own extractor, reference and metrics"
    )
    samples: PathName | None = Field(
        description="a run's directory, an .npz with arr_0 (N, H, W, 3) bytes, or a folder of PNGs"
    )
    reference: PathName | None = Field(description="an .npz: ADM's, or one of scripts.reference")
    extractor: Extractor | None = Field(description="network of the features")
    extractor_weights: PathName | None = Field(description="its file; nothing is downloaded")
    metrics: Metrics | None = Field(description="what is measured")
    bootstrap: Draws | None = Field(
        description="draws for the interval of the Inception Score; FID has one without draws; 0: no intervals"
    )
    clip: PathName = Field(
        description="for clip_score: a CLIP model in transformers' layout; the paper's tables have ViT-g/14"
    )
    against: PathName | None = Field(
        description="for clip_score: another run with the same captions and noise, for the paired difference"
    )
    batch_size: BatchSize = Field(description="images at once")
    device: Device = Field(description="where it runs; auto: a GPU where there is one")
    out: PathName | None = Field(description="null: result.json in the directory, FILE.result.json beside a file")
    defaults_of: dict[str, ExtractorDefaults] = Field(
        description="what is neither given nor recorded in a run, for each extractor"
    )

    @model_validator(mode="after")
    def _check_together(self) -> "EvaluateSettings":
        if (self.run is None) == (self.samples is None):
            raise refuse("give one of run=DIR (a run of ours) and samples=FILE_OR_DIR")
        if self.against is not None and self.metrics is not None and CLIP_SCORE not in self.metrics:
            raise refuse("against= is for metrics=[clip_score]; scripts.compare compares results")
        return self


class CompareSettings(Settings):
    """The settings of `scripts.compare`."""

    a: PathName = Field(description="a result.json, or the directory that holds one")
    b: PathName = Field(description="another one")


class MergeSettings(Settings):
    """The settings of `scripts.merge`."""

    run: PathName = Field(description="directory of a sampling run whose shards are all there")


class ReportSettings(Settings):
    """The settings of `scripts.report`."""

    sweep: PathName | None = Field(description="directory of a finished sweep")
    sweeps: Paths = Field(description="or of several; those of one pair and protocol are joined")
    out: PathName | None = Field(
        description="null: report.html in the first sweep's directory; report.md and report_pictures/ go beside it"
    )
    analyses: Paths = Field(description="what scripts.analyse wrote: directories or JSON files")
    paper: PaperName | None = Field(
        description="the experiment whose numbers of the paper stand beside ours; null: by the pair"
    )
    beside: dict[str, ExperimentName] = Field(
        description="the experiment for each pair of the paper, which the zoo's stand for"
    )

    @model_validator(mode="after")
    def _check_together(self) -> "ReportSettings":
        if (self.sweep is None) == (not self.sweeps):
            raise refuse("give one of sweep=DIR and sweeps=[DIR,...]")
        if self.out is not None and self.out.endswith(".md"):
            raise refuse(f"out={self.out} is where the Markdown page would go; give the name of the HTML page")
        return self


class FlatnessSettings(Settings):
    """The settings of `scripts.flatness`."""

    sweeps: SomePaths = Field(description="directories of finished sweeps of two models")
    analyses: SomePaths = Field(description="what scripts.analyse wrote of the same weights: directories or JSON files")
    out: PathName = Field(description="directory of flatness.md, .csv and .png")


class MixturesSettings(Settings):
    """The settings of `scripts.mixtures`."""

    sweeps: SomePaths = Field(description="directories of finished sweeps of two models, such as experiment=mixtures")
    references: Paths = Field(
        description="references with features, for precision and recall; one for each extractor whose own has none"
    )
    out: PathName = Field(description="directory of mixtures.md, .csv and .png")


class FrontsSettings(Settings):
    """The settings of `scripts.fronts`."""

    sweeps: SomePaths = Field(description="directories of finished sweeps of one noise, of any numbers of models")
    out: PathName = Field(description="directory of fronts.md, .csv and .png")


class TableSettings(Settings):
    """The settings of `scripts.table`."""

    name: Words | None = Field(description="table1, fig5, ...: every experiment of that name; null: all")
    pairs: Annotated[str, OneOf(("imagenet", *DATA_SETS))] = Field(
        description="the paper's pairs, or the zoo's that stand for them"
    )
    out: PathName = Field(description="directory of NAME.md, NAME.csv, NAME.tex and NAME.png for each experiment")
    points: PathName | None = Field(description="where the points' runs lie, shared by all tables; null: runs/points")
    sweep: PathName | None = Field(
        description="directory of a finished sweep to take instead of running one; needs name"
    )
    mix_protocols: Switch = Field(description="true: judge numbers within tolerance although the protocols differ")
    captions: PathName | None = Field(
        description="of the tables from prompts: COCO's captions .json, or a text file with one prompt a line"
    )
    num_images: Count | None = Field(description="replaces the experiment's own, as all that follow")
    num_steps: NumSteps | None = Field(description="where the experiment does not sweep it")
    step_counts: StepCounts | None = Field(description="where it does")
    fractions: FractionsToSweep | None = Field(description="of the small model, as of scripts.sweep")
    batch_size: BatchSize | None = Field(description="images at once")
    precision: Precisions | None = Field(description="of the denoisers")
    ranks: Ranks | None = Field(description="processes (GPUs) of one torchrun")
    device: Device | None = Field(description="where it runs")

    @model_validator(mode="after")
    def _check_together(self) -> "TableSettings":
        if self.sweep is not None and self.name is None:
            raise refuse("sweep= is for one experiment; give its name=NAME")
        if self.fractions is not None and count_fractions(self.fractions, MOST_DENOISERS) > MOST_POINTS:
            raise refuse(
                f"fractions make too many points of three models, and at most {MOST_POINTS:,} are taken; "
                f"shorten them, got fractions={show(self.fractions)}"
            )
        return self
