"""Where a pipeline's small denoiser may stand in for its large one: measured once, for any diffusers pipeline."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import update_wrapper
from numbers import Integral

import torch
from torch import Tensor

from tstitch.allocation import Allocation
from tstitch.dropin.stitch import find_stitched
from tstitch.dropin.stitched import StitchedDenoiser
from tstitch.errors import UserError
from tstitch.routers.by_image import relative_difference
from tstitch.routers.track import track_allocation


@dataclass(frozen=True)
class Calibration:
    """How far the small denoiser's predictions are from the large one's, along the large one's trajectories.

    Attributes:
        timesteps: of the solver steps.
        disagreement: for each of them, the mean of |p_S - p_L| / |p_L| over prompts and seeds, guidance included.
    """

    timesteps: tuple[float, ...]
    disagreement: tuple[float, ...]

    def allocation(self, fraction: float) -> Allocation:
        """Give the small denoiser that fraction of the steps, where it disagrees least (TRACK, arXiv 2609.30096).

        Example:
            >>> stitched = stitch(pipe, small, fraction=0)
            >>> calibration = calibrate(pipe, ["a cat"], num_inference_steps=5)
            >>> stitched.allocate(allocation=calibration.allocation(0.4))
        """
        if not 0 <= fraction <= 1:
            raise UserError(f"fraction must lie in [0, 1], got {fraction}")
        return track_allocation(self.disagreement, round(fraction * len(self.disagreement)))


@dataclass
class _Recorder:
    """Predictions that a scheduler was given and results that it returned, step by step; the second run is a replay."""

    outputs: list[Tensor]
    results: list[object]


def calibrate(
    pipe: object, prompts: Sequence[str] | None = None, *, num_inference_steps: int, seeds: Sequence[int] = (0,),
    **call: object,
) -> Calibration:  # fmt: skip
    """Measure the disagreement of the two denoisers of a stitched pipeline, step by step.

    The pipeline runs twice for each prompt and seed: with the large denoiser alone, and with the small one in its
    place while the scheduler repeats what it returned before. So both predict at the same latents, and guidance is the
    pipeline's own. Its shares are then as they were.

    Args:
        pipe: stitched with one small denoiser.
        prompts: one or more; None for a pipeline that takes none, whose inputs are in `call`.
        num_inference_steps: of the call that the calibration is for.
        seeds: of the start noise of each prompt.
        call: further arguments of the pipeline's call, such as `guidance_scale`.

    Raises:
        UserError: the pipeline is not stitched, or has more than two denoisers.
    """
    _, stitched = find_stitched(pipe)
    if len(stitched.denoisers) != 2:
        raise UserError(f"calibrate is for two denoisers, this pipeline has {len(stitched.denoisers)}")
    if not are_whole(seeds, least=0) or (prompts is not None and not prompts) or isinstance(prompts, str):
        raise UserError(f"calibrate needs a list of prompts and of seeds, got {prompts!r} and {seeds!r}")
    if not are_whole([num_inference_steps], least=1):
        raise UserError(f"calibrate needs a whole number of steps of 1 or more, got {num_inference_steps!r}")
    rows, trajectory = [], None
    for given in [{}] if prompts is None else [{"prompt": prompt} for prompt in prompts]:
        for seed in seeds:
            settings = {**call, **given, "output_type": "latent", "num_inference_steps": num_inference_steps}
            large, small = _Recorder([], []), _Recorder([], [])
            stitched.counter.watch()  # a scheduler that came after `stitch`, before its `step` is recorded
            for fraction, recorder, replay in ((0, large, None), (1, small, large.results)):
                with sharing(stitched, fraction=fraction), _recording(pipe.scheduler, recorder, replay):
                    pipe(**settings, generator=torch.Generator().manual_seed(int(seed)))
                trajectory = stitched.trajectory
            if not len(large.outputs) == len(small.outputs) == len(trajectory.step_of_call):
                raise UserError(
                    f"calibrate heard {len(large.outputs)} steps of the pipeline's scheduler where its run has "
                    f"{len(trajectory.step_of_call)} calls of the denoiser; it cannot be calibrated"
                )
            num_taken, num_steps = len(stitched._models_of_steps), len(trajectory.timesteps)
            if num_taken < num_steps:
                raise UserError(
                    f"the stitched denoiser takes {num_taken} of {num_steps} steps, another network the others; "
                    "calibrate is for pipelines whose every step is the stitched denoiser's"
                )
            rows.append(_by_step(small.outputs, large.outputs, trajectory.step_of_call))
    mean = torch.stack(rows).mean(dim=0)
    return Calibration(trajectory.timesteps, tuple(mean.tolist()))


def are_whole(values: object, least: int) -> bool:
    """Tell whether these are whole numbers, one or more of them, and none below `least`."""
    is_list = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
    return is_list and all(isinstance(value, Integral) and value >= least for value in values)


def _by_step(small: Sequence[Tensor], large: Sequence[Tensor], step_of_call: Sequence[int]) -> Tensor:
    """The mean disagreement of each solver step (T,), over the images of a batch and the calls of a step."""
    sums = torch.zeros(max(step_of_call) + 1, dtype=torch.float64)
    for own, wanted, step in zip(small, large, step_of_call, strict=True):
        share = step_of_call.count(step)
        sums[step] += relative_difference(own.double(), wanted.double()).mean().cpu() / share
    return sums


@contextmanager
def sharing(stitched: StitchedDenoiser, **how: object) -> Iterator[None]:
    """Share out the steps of the runs in the context in another way, with the words of `stitch`; then as before."""
    before = stitched.shares
    stitched.allocate(**how)
    try:
        yield
    finally:
        stitched.shares = before


class _RecordedStep:
    """A scheduler's `step` that notes what it is given and returns; with `replay` it returns that instead.

    Pipelines look at its signature, and those that step copies of their scheduler get the step of each copy.
    """

    def __init__(self, step: Callable[..., object], recorder: _Recorder, replay: list[object] | None):
        update_wrapper(self, step, updated=())
        self._step, self._recorder, self._replay = step, recorder, replay

    def __call__(self, model_output: Tensor, *args: object, **kwargs: object) -> object:
        recorder = self._recorder
        recorder.outputs.append(model_output.detach().clone())
        recorder.results.append(self._step(model_output, *args, **kwargs))
        return recorder.results[-1] if self._replay is None else self._replay[len(recorder.results) - 1]

    def __deepcopy__(self, memo: dict) -> object:
        return deepcopy(self._step, memo)


@contextmanager
def _recording(scheduler: object, recorder: _Recorder, replay: list[object] | None) -> Iterator[None]:
    """Record what `scheduler.step` is given and returns; with `replay` it returns that instead."""
    step = scheduler.step
    scheduler.step = _RecordedStep(step, recorder, replay)
    try:
        yield
    finally:
        scheduler.step = step
