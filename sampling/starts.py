"""Where earlier points of a sweep left their first denoiser, for later points to go on from."""

from collections.abc import Hashable, Sequence

from sampling.plan import Plan
from tstitch.sampling import Rest, Walk, spans

CAPACITY = 2**27  # bytes of latents: 8,192 images of 256 pixels. A multistep history is up to four times as much more


class Starts:
    """Points of a sweep have the same noise, so up to their first switch they only differ in when it comes.

    With rising fractions a point goes on where the one before it switched, and each step of the first denoiser is taken
    once for all of them. Bytes stay what they are for a point alone. Points share a pair, a seed and precisions; those
    that also begin alike follow each other in a sweep, so the others are forgotten when one begins otherwise.
    """

    def __init__(self) -> None:
        self.beginning: Hashable = None
        self.rests: dict[tuple[int, ...], Rest] = {}
        self.image_steps = 0  # that points did not take, because others had

    def resume(self, plan: Plan, indices: Sequence[int], walk: Walk) -> None:
        """Move the walk of images, which is at its start, to where an earlier one switched, if it did no later."""
        rest = self._alike(plan).get(tuple(indices))
        if rest is not None and rest.position <= spans(plan.allocation)[0].stop:
            walk.resume(rest)
            self.image_steps += rest.position * len(indices)

    def keep(self, plan: Plan, indices: Sequence[int], walk: Walk) -> None:
        """Remember where a walk is, at its first switch, if there is one and `CAPACITY` allows."""
        if walk.position == len(plan.allocation):
            return
        rests, images = self._alike(plan), tuple(indices)
        remembered = sum(rest.latents.nbytes for rest in rests.values())
        if images in rests or remembered + walk.latents.nbytes <= CAPACITY:
            rests[images] = walk.rest()

    def _alike(self, plan: Plan) -> dict[tuple[int, ...], Rest]:
        """What is remembered of points that are the same as this one up to their first switch."""
        first = plan.allocation[0]
        beginning = first, plan.scales[first], tuple(plan.sampler.items())
        if beginning != self.beginning:
            self.beginning, self.rests = beginning, {}
        return self.rests
