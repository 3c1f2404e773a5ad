"""Shares that a pipeline's call decides as it runs: one denoiser until the latents change steadily, then another."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real

from torch import Tensor

from tstitch.allocate import Shares, parse_shares
from tstitch.allocation import Allocation
from tstitch.errors import UserError
from tstitch.router import Ask
from tstitch.routers.latent_change import LatentChangeRoute, LatentChangeRouter
from tstitch.routers.switching import Switches
from tstitch.schedule import NoiseSchedule
from tstitch.solvers.steps import Predict, Step

ORDERS = {"large_to_small": (1, 0), "small_to_large": (0, 1)}


@dataclass(frozen=True)
class LatentChange:
    """Switch for good at the first step after `min_steps` at which 0 < D_i - D_(i-1) < delta (SRDiffusion, 2505.19151).

    D_i = tanh(|x_(i+1) - x_i|_1 / |x_i|_1) is how much a step changed the latents as the denoiser is given them. All
    images of a call switch together. The paper goes from the large denoiser to the small one, with a delta of 0.01,
    0.03 or 0.1; the other order is ours.

    Attributes:
        delta: infinity switches after `min_steps`.
        min_steps: that the first denoiser takes at least; two or more, since a change needs one before it.
        order: `large_to_small` or `small_to_large`.

    Example:
        >>> stitched = stitch(pipe, small, rule=LatentChange(delta=math.inf, min_steps=2))
        >>> image = pipe("a cat", num_inference_steps=5).images[0]
        >>> stitched.allocation
        (1, 1, 0, 0, 0)
    """

    delta: float
    min_steps: int = 2
    order: str = "large_to_small"

    kind = "latent change"

    def __post_init__(self) -> None:
        is_number = isinstance(self.delta, Real) and isinstance(self.min_steps, Integral)
        if not is_number or not self.delta > 0 or self.min_steps < 2 or self.order not in ORDERS:
            raise UserError(
                f"LatentChange needs a delta above 0, min_steps of 2 or more and an order of {', '.join(ORDERS)}, got "
                f"{self.delta!r}, {self.min_steps!r} and {self.order!r}"
            )

    @property
    def values(self) -> tuple[float, int, str]:
        """Its settings, as they are shown."""
        return self.delta, self.min_steps, self.order

    def allocate(self, timesteps: Sequence[float], schedule: NoiseSchedule | None = None) -> Allocation:
        """The allocation of the earliest switch; the run decides when it really is."""
        first, then = ORDERS[self.order]
        num_first = min(self.min_steps, len(timesteps))
        return (first,) * num_first + (then,) * (len(timesteps) - num_first)

    def warn_of_rounding(self, allocation: Allocation) -> None:
        """Warn where a run is too short for the other denoiser."""
        if len(set(allocation)) == 1:
            warnings.warn(f"min_steps={self.min_steps} leaves one denoiser all {len(allocation)} steps", stacklevel=2)

    def start(self, allocation: Allocation, steps: Sequence[Step]) -> "LatentChangeOfCall":
        """Begin a run."""
        first, then = ORDERS[self.order]
        rule = LatentChangeRouter(first, then, self.delta, self.min_steps)
        return LatentChangeOfCall(LatentChangeRoute(rule, Switches.of(first, then, 1, len(steps))))


@dataclass
class LatentChangeOfCall:
    """The rule of `tstitch.routers.latent_change`, to which the latents of a whole call are one image."""

    route: LatentChangeRoute
    step: int = -1

    @property
    def decisions(self) -> Mapping[str, Tensor]:
        return self.route.decisions

    def __call__(self, step: Step, latents: object, ask: Ask) -> Predict:
        if not isinstance(latents, Tensor):
            raise UserError("LatentChange cannot see the latents of this pipeline; share its steps out before the call")
        if step.index != self.step:  # a solver of second order asks again within a step
            self.step = step.index
            self.route(step, latents.detach().float()[None], ask)  # the sums of a large latent are beyond fp16
        switches = self.route.switches
        return partial(ask, switches.first if switches.waiting.all() else switches.then)


def parse_rule(num_denoisers: int, given: Mapping[str, object]) -> Shares | LatentChange:
    """Read shares as `tstitch.allocate.parse_shares` does, or a `rule` in their place.

    Raises:
        UserError: as there, or a rule with something else, or for other than two denoisers.
    """
    rule = given.get("rule")
    if rule is None:
        return parse_shares(num_denoisers, given)
    others = [key for key, value in given.items() if key != "rule" and value is not None]
    if others or num_denoisers != 2 or not isinstance(rule, LatentChange):
        raise UserError(
            f"rule is a LatentChange for two denoisers, alone, got {rule!r} for {num_denoisers} "
            f"{'with ' + ', '.join(others) if others else 'denoisers'}"
        )
    return rule
