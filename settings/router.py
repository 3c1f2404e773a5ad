"""Routers: who predicts at each solver step. One group of settings for each kind, chosen by `kind`."""

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, Tag

from settings.base import Settings
from settings.choice import choose_by, mark
from settings.kinds import Number, OneOf, Whole
from settings.lists import ListOf
from settings.names import ALLOCATION, DIRECTIONS, ML_EM_DRAWS, ML_EM_PROBABILITIES, files_of
from settings.types import Count, NotNegative, PathName, Positive, Share, Size, Switch

Direction = Annotated[str, OneOf(DIRECTIONS)]
FirstStep = Annotated[int, Whole(0, 10**6)]
Kind = Annotated[str, OneOf(files_of("router"))]


class Router(Settings):
    """The kind of a router, and how it is shown.

    Attributes:
        takes_shares: whether the fractions say how many steps each denoiser takes.
        shares_are_expected: whether that is so on average over images alone.
        by_image: whether a denoiser is asked for a part of a batch.
        knob: the setting that trades cost for quality, where the fractions do not.
    """

    takes_shares: ClassVar[bool] = False
    shares_are_expected: ClassVar[bool] = False
    by_image: ClassVar[bool] = False
    knob: ClassVar[str] = ""

    kind: Kind = Field(description="of the router")

    @property
    def label(self) -> str:
        """The kind with its settings, but for the knob and for where a calibration lies."""
        return self._show(without=("kind", "calibration", self.knob))

    @property
    def title(self) -> str:
        """The kind with all settings but for where a calibration lies."""
        return self._show(without=("kind", "calibration"))

    @property
    def shown_knob(self) -> str | None:
        """The knob with its value; None where the fractions are the knob."""
        return f"{self.knob}={getattr(self, self.knob)}" if self.knob else None

    def _show(self, without: tuple[str, ...]) -> str:
        values = {key: value for key, value in self.as_dict().items() if key not in without and value is not None}
        return " ".join([self.kind, *(f"{key}={value}" for key, value in values.items())])


class Allocated(Router):
    """The allocation that `stitch` and `allocation` say (T-Stitch)."""

    kind_name: ClassVar[str] = ALLOCATION
    takes_shares: ClassVar[bool] = True


class Track(Router):
    """The small model where it disagrees least (TRACK); the fraction says at how many steps."""

    kind_name: ClassVar[str] = "track"
    takes_shares: ClassVar[bool] = True
    calibration: PathName = Field(description="what scripts.analyse analysis=disagreement wrote: its JSON file")
    weighted: Switch = Field(description="whether a step's disagreement is multiplied by the solver's weight (TRACK-w)")


class Knapsack(Router):
    """The allocation of the least weighted disagreement under a budget, for any number of denoisers."""

    kind_name: ClassVar[str] = "knapsack"
    knob: ClassVar[str] = "budget"
    calibration: PathName = Field(description="what scripts.analyse analysis=disagreement wrote: its JSON file")
    budget: Annotated[float, Number(0, 1, is_open=True)] = Field(
        description="share of what the large model alone costs"
    )
    costs: Annotated[list[float], ListOf(Number(0, is_open=True))] | None = Field(
        description="of a step of each denoiser, such as its measured time; null: its operations"
    )


class LatentChange(Router):
    """Each image switches where its latents change steadily (SRDiffusion)."""

    kind_name: ClassVar[str] = "latent_change"
    by_image: ClassVar[bool] = True
    knob: ClassVar[str] = "delta"
    order: Direction = Field(description="which denoiser comes first")
    delta: Positive = Field(description="largest growth of the change at which an image switches")
    min_steps: FirstStep = Field(description="steps before any image may switch")


class Probe(Router):
    """Each image switches where the other denoiser, asked now and then, disagrees enough."""

    kind_name: ClassVar[str] = "probe"
    by_image: ClassVar[bool] = True
    knob: ClassVar[str] = "threshold"
    order: Direction = Field(description="which denoiser comes first")
    threshold: NotNegative = Field(description="relative distance of the two predictions at which an image switches")
    every: Count = Field(description="steps from probe to probe")
    min_steps: FirstStep = Field(description="steps before the first probe")


class MDD(Router):
    """Magnitude from the small denoiser, direction from the large one, asked anew after a drift (MDD)."""

    kind_name: ClassVar[str] = "mdd"
    by_image: ClassVar[bool] = True
    knob: ClassVar[str] = "threshold"
    threshold: NotNegative = Field(description="sum of 1 - cos after which an image asks the large denoiser")


class MLEM(Router):
    """The large denoiser at random steps, weighted so that the mean is its own (ML-EM)."""

    kind_name: ClassVar[str] = "ml_em"
    takes_shares: ClassVar[bool] = True
    shares_are_expected: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    draws: Annotated[str, OneOf(ML_EM_DRAWS)] = Field(
        description="bernoulli: independent; systematic: as many as expected"
    )
    probabilities: Annotated[str, OneOf(ML_EM_PROBABILITIES)] = Field(
        description="of the large denoiser by step: all equal, growing by ratio, or by a calibration"
    )
    ratio: Positive | None = Field(description="for geometric: growth from step to step")
    calibration: PathName | None = Field(description="for optimal: the JSON file of analysis=disagreement")


class Held(Router):
    """The small denoiser with the large one's correction of some steps ago."""

    kind_name: ClassVar[str] = "held"
    knob: ClassVar[str] = "every"
    every: Count = Field(description="steps from correction to correction")


class Hybrid(Router):
    """One denoiser, then the small one with the large one where they differ most, then the other (HybridStitch)."""

    kind_name: ClassVar[str] = "hybrid"
    by_image: ClassVar[bool] = True
    knob: ClassVar[str] = "region"
    order: Direction = Field(description="which denoiser comes first")
    first_share: Share = Field(description="share of the steps that the first denoiser takes alone")
    hybrid_share: Share = Field(description="share of the steps that both take")
    region: Share = Field(description="share of the patches, those that differ most, that the large one predicts")
    every: Count = Field(description="steps from one choice of the patches to the next, which takes all of them")
    patch_size: Size = Field(description="side of a patch of the latents; the large DiT's own")


class RouterChoice(Settings):
    """A router of a sweep: its kind, and those of its settings that are other than in `configs/router/KIND.yaml`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Any]

    kind: Kind = Field(description="of the router")


ROUTERS = (Allocated, Track, Knapsack, LatentChange, Probe, MDD, MLEM, Held, Hybrid)
AnyRouter = Annotated[
    Annotated[Allocated, Tag(mark(ALLOCATION))]
    | Annotated[Track, Tag(mark("track"))]
    | Annotated[Knapsack, Tag(mark("knapsack"))]
    | Annotated[LatentChange, Tag(mark("latent_change"))]
    | Annotated[Probe, Tag(mark("probe"))]
    | Annotated[MDD, Tag(mark("mdd"))]
    | Annotated[MLEM, Tag(mark("ml_em"))]
    | Annotated[Held, Tag(mark("held"))]
    | Annotated[Hybrid, Tag(mark("hybrid"))],
    choose_by("kind", *ROUTERS),
]
