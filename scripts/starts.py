"""Where earlier points of a sweep left their first denoiser, for later points to go on from."""

from collections.abc import Hashable, Sequence

from scripts.plan import Plan
from tstitch.sampling import Rest, Walk, spans

CAPACITY = 8192  # images; latents of 256-pixel images with a multistep history are 80 KB each


class Starts:
    """Points of a sweep have the same noise, so up to their first switch they only differ in when it comes.

    With rising fractions a point goes on where the one before it switched, and each step of the first denoiser is taken
    once for the whole sweep. Bytes stay what they are for a point alone. Points share a pair, a seed and precisions.
    """

    def __init__(self) -> None:
        self.rests: dict[tuple[Hashable, ...], Rest] = {}

    def resume(self, plan: Plan, indices: Sequence[int], walk: Walk) -> None:
        """Move the walk of images, which is at its start, to where an earlier one switched, if it did no later."""
        rest = self.rests.get(_beginning(plan, indices))
        if rest is not None and rest.position <= spans(plan.allocation)[0].stop:
            walk.resume(rest)

    def keep(self, plan: Plan, indices: Sequence[int], walk: Walk) -> None:
        """Remember where a walk is, at its first switch, unless too many images are remembered."""
        beginning = _beginning(plan, indices)
        if beginning in self.rests or self._num_images() + len(indices) <= CAPACITY:
            self.rests[beginning] = walk.rest()

    def _num_images(self) -> int:
        return sum(len(indices) for indices, *_ in self.rests)


def _beginning(plan: Plan, indices: Sequence[int]) -> tuple[Hashable, ...]:
    """What decides a walk up to its first switch, besides what all points of a sweep share."""
    first = plan.allocation[0]
    return tuple(indices), first, plan.scales[first], tuple(plan.sampler.items())
