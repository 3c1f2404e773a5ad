"""The small model where it was seen to disagree least (TRACK, arXiv 2609.30096): an allocation from a calibration."""

import math
from collections.abc import Sequence

from tstitch.allocation import Allocation
from tstitch.errors import UserError
from tstitch.solvers.steps import Step


def track_allocation(disagreement: Sequence[float], num_small: int) -> Allocation:
    """Give the small model the `num_small` steps of least disagreement, in whatever pattern; the earlier of equal ones.

    Args:
        disagreement: for each step, the mean over samples of |p_S - p_L| / |p_L| along the large model's trajectory;
            times `step_weights`, TRACK-w.

    Raises:
        UserError: a number of steps that there are not, or a disagreement that is negative or not finite.
    """
    if not all(math.isfinite(value) and value >= 0 for value in disagreement):
        raise UserError(f"disagreements must be finite and 0 or more, got {list(disagreement)}")
    if not 0 <= num_small <= len(disagreement):
        raise UserError(f"the small model's steps must be 0..{len(disagreement)}, got {num_small}")
    chosen = set(sorted(range(len(disagreement)), key=lambda step: disagreement[step])[:num_small])
    return tuple(0 if step in chosen else 1 for step in range(len(disagreement)))


def step_weights(steps: Sequence[Step]) -> list[float]:
    """Compute |d x_next / d eps| of a DDIM step: how far an error of the prediction moves the latents (ours).

    With x = a x_0 + s eps it is |s' - s a' / a|. Other solvers are the same to first order.
    """
    return [
        abs(
            math.sqrt(1 - step.alpha_bar_next)
            - math.sqrt(1 - step.alpha_bar) * math.sqrt(step.alpha_bar_next / step.alpha_bar)
        )
        for step in steps
    ]
