"""Settings of sample, sweep, latency, analyse and allocation: a pair, how it is stitched, and how it is sampled."""

from typing import Annotated

from pydantic import Field, model_validator

from settings.base import Settings, refuse
from settings.kinds import Number, OneOf, Whole
from settings.lists import Either, ListOf, OneOrEach
from settings.names import (
    GRIDS,
    HISTORIES,
    LABELS,
    MATCHES,
    MULTISTEP,
    RESIDENCIES,
    SMALL_TO_LARGE,
    STITCH_WORDS,
    CompileMode,
    Device,
    Order,
    Precision,
    Precisions,
    Rule,
    SamplerName,
)
from settings.pair import Channels, Pair
from settings.router import AnyRouter
from settings.types import BatchSize, Count, NumSteps, PathName, Positive, Seed, Share, Switch

SCALE = Number(1)
Shares = Annotated[list[float], ListOf(Number(0, 1))]
WholeNumbers = Annotated[list[int], ListOf(Whole(0, 10**6))]
Boundaries = Annotated[list[float], ListOf(Number(), shortest=0)]
BoundaryOrBoundaries = Annotated[float | list[float], Either(Number(), ListOf(Number(), shortest=0))]


class Stitch(Settings):
    """Who takes which part of the trajectory: the fractions, or one of the others in their place."""

    fractions: Shares | None = Field(description="share of the steps of each denoiser, small to large")
    fraction: Share | None = Field(description="share of the steps of the small one of two denoisers")
    counts: WholeNumbers | None = Field(description="number of steps of each denoiser")
    denoiser_per_step: WholeNumbers | None = Field(description="a denoiser index for each step")
    timestep_boundaries: BoundaryOrBoundaries | None = Field(
        description="where each denoiser but the last stops: it takes t >= boundary"
    )
    log_snr_boundaries: Boundaries | None = Field(
        description="the same as log SNR, which means the same on any noise schedule"
    )

    @property
    def explicit(self) -> list[str]:
        """The words that are given, but `fractions`, which has a default."""
        return [word for word in STITCH_WORDS if word != "fractions" and getattr(self, word) is not None]

    def refuse_unless_one(self, default: list[float] | None = None) -> None:
        """Raise unless exactly one word is given.

        Args:
            default: of `fractions`, which another word replaces.
        """
        given = list(self.explicit)
        if self.fractions is not None and (not given or self.fractions != default):
            given.insert(0, "fractions")
        if len(given) != 1:
            known = ", ".join(f"stitch.{word}" for word in STITCH_WORDS)
            raise refuse(f"give one of {known}, got {' and '.join(f'stitch.{word}' for word in given) or 'none'}")


class Allocation(Settings):
    """How fractions become steps."""

    rule: Rule = Field(description="steps: round(r * T), as the paper; timestep: as the released code")
    order: Order = Field(
        description="which steps the small model takes; the paper compares small_to_large with the others"
    )


class Guidance(Settings):
    """Classifier-free guidance."""

    scale: Annotated[float | list[float], OneOrEach(SCALE)] = Field(
        description="guidance scale; 1 is off; a list has one for each denoiser"
    )
    channels: Channels = Field(
        description="how many latent channels are guided, or all; a list has one for each denoiser"
    )


class Sampler(Settings):
    """A solver by name, with its timesteps."""

    name: SamplerName = Field(description="of the solver")
    num_steps: NumSteps = Field(description="solver steps of a trajectory")
    grid: Annotated[str, OneOf(GRIDS)] = Field(description="which training timesteps a trajectory visits")
    eta: Share = Field(description="noise of DDIM: 0 is deterministic, 1 has the variance of DDPM")
    history: Annotated[str, OneOf(HISTORIES)] = Field(
        description="what a multistep solver does with its history at a switch"
    )


class SamplingSettings(Settings):
    """The settings of a command that samples with a pair."""

    pair: Pair = Field(description="the denoisers that are stitched")
    stitch: Stitch = Field(description="who takes which part of the trajectory")
    allocation: Allocation = Field(description="how fractions become steps")
    router: AnyRouter = Field(description="who predicts at each step; allocation: the shares alone decide")
    guidance: Guidance = Field(description="classifier-free guidance")
    sampler: Sampler = Field(description="the solver")
    match: Annotated[str, OneOf(MATCHES)] = Field(
        description="timesteps of a denoiser of another schedule: of equal signal to noise (snr), or of equal index"
    )
    num_images: Count = Field(description="images to make")
    batch_size: BatchSize = Field(description="images at once")
    seed: Seed = Field(description="of all noise and labels")
    labels: Annotated[str, OneOf(LABELS)] = Field(
        description="classes of the images: drawn uniformly for each, or balanced: in turn"
    )
    precision: Precisions = Field(
        description="of the denoisers; auto: bf16 where the device multiplies it faster; a list has one for each"
    )
    autoencoder_precision: Precision = Field(description="of the autoencoder")
    compile: CompileMode = Field(
        description="default: torch.compile; max: faster yet, with kernels picked by each process on a GPU"
    )
    residency: Annotated[str, OneOf(RESIDENCIES)] = Field(
        description="networks in memory: both; swap: on a GPU the one in use; staged: one, loaded anew for each batch"
    )
    device: Device = Field(description="where it runs; auto: a GPU where there is one")
    out: PathName | None = Field(description="where the results go; null: a directory under runs/ by the configuration")
    dry_run: Switch = Field(description="true: print the plan and what it costs, and make nothing")
    tflops: Positive | None = Field(
        description="for dry_run: a rate in TFLOP/s to estimate the time from, in place of a short measurement"
    )

    @model_validator(mode="after")
    def _check_together(self) -> "SamplingSettings":
        self.stitch.refuse_unless_one(default=self.pair.fractions)
        explicit = [word for word in self.stitch.explicit if word != "fraction"]
        if explicit and self.allocation.rule != "steps":
            raise refuse(
                f"allocation.rule={self.allocation.rule} rounds fractions, and stitch.{explicit[0]} has none to round; "
                "leave one of them out"
            )
        self.check_router()
        if self.tflops is not None and not self.dry_run:
            raise refuse(f"tflops={self.tflops:g} is for dry_run=true, which estimates the time from it")
        if self.residency == "staged" and self.compile != "none":
            raise refuse(
                f"residency=staged loads networks again and again, and compile={self.compile} would compile them each "
                "time; use compile=none, or residency=both or swap"
            )
        return self

    def check_router(self) -> None:
        """Raise pydantic's error where the router cannot go with the other settings."""
        router, kind = self.router, self.router.kind
        if kind == "allocation":
            return
        explicit = self.stitch.explicit
        if not router.takes_shares and explicit:
            raise refuse(
                f"router={kind} decides by itself, so stitch.{explicit[0]} has no meaning with it; "
                f"router.{router.knob} says how much the large denoiser does"
            )
        other = [word for word in explicit if word not in ("fraction", "counts")]
        if other:
            raise refuse(f"router={kind} takes stitch.fraction or stitch.counts, got stitch.{other[0]}")
        if self.allocation.order != SMALL_TO_LARGE:
            raise refuse(f"router={kind} chooses the steps, so allocation.order={self.allocation.order} has no meaning")
        num_denoisers = len(self.pair.denoisers)
        if num_denoisers != 2 and kind != "knapsack":
            raise refuse(f"router={kind} is for two denoisers, pair={self.pair.name} has {num_denoisers}")
        if router.by_image and self.compile != "none":
            raise refuse(
                f"router={kind} asks for parts of a batch, and compile={self.compile} is for one batch size; use "
                "compile=none"
            )
        if router.by_image and self.sampler.history == "reset":
            raise refuse(f"sampler.history=reset is for a switch of all images at once, and router={kind} has none")
        if kind == "ml_em" and self.sampler.name in MULTISTEP:
            raise refuse(
                f"router=ml_em draws at each step, which would poison the history of sampler={self.sampler.name}; use "
                "ddim, ddpm, euler, heun or lcm"
            )
        if kind == "ml_em" and (router.probabilities == "optimal") != (router.calibration is not None):
            raise refuse("router.probabilities=optimal and router.calibration=FILE go together; give both or neither")
        if kind == "ml_em" and (router.probabilities == "geometric") != (router.ratio is not None):
            raise refuse("router.probabilities=geometric and router.ratio=NUMBER go together; give both or neither")
