"""Calls of a network of diffusers on the trajectory of a pipeline whose own network has another convention."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tstitch.allocation import Allocation
from tstitch.convention import Convention, Match, match_timestep
from tstitch.errors import UserError
from tstitch.solvers.scheduler_convention import config_of, convention_of, have_one_schedule
from tstitch.solvers.scheduler_steps import PlannedStep
from tstitch.solvers.timesteps import Form


class MatchedCall:
    """A network's call with the arguments of a pipeline that was written for another convention.

    The pipeline's state becomes the network's own by signal to noise, and what it predicts becomes what the pipeline
    expects; of one convention it is called as it is. The form in which it takes a timestep is read from the first call.

    Args:
        own: the convention of the network.
        timestep_name: of that argument.
    """

    def __init__(self, own: Convention, timestep_name: str):
        self.own, self.timestep_name = own, timestep_name
        self._form: Form | None = None
        self._scheduler, self._pipeline, self._is_same = None, None, False

    def __call__(
        self, network: nn.Module, scheduler: object, forms: Sequence[Form], t: float, args: tuple, kwargs: dict
    ) -> object:
        """Call the network.

        Args:
            scheduler: of the pipeline.
            forms: in which a network of this kind may take a timestep.
            t: the pipeline's timestep.

        Raises:
            UserError: latents that are no tensor, or a timestep in a form that is not known.
        """
        pipeline = self._convention_of(scheduler)
        if self._is_same:
            return network(*args, **kwargs)
        signature = inspect.signature(type(getattr(network, "_orig_mod", network)).forward)
        bound = signature.bind(network, *args, **kwargs)
        latents_name = list(bound.arguments)[1]
        latents, timestep = bound.arguments[latents_name], bound.arguments[self.timestep_name]
        if not isinstance(latents, Tensor):
            raise UserError("allow=['schedule'] needs latents that are one tensor; this pipeline has several")
        self._form = self._form or _form_of(timestep, forms, t)
        match = match_timestep(pipeline.schedule, self.own.schedule, t)
        own_latents = latents.float() * match.factor
        bound.arguments[latents_name] = own_latents.to(latents.dtype)
        bound.arguments[self.timestep_name] = _like(timestep, self._form.of(match.timestep))
        output = network(*bound.args[1:], **bound.kwargs)
        predicted = output[0]
        own = predicted.float(), own_latents, match.timestep
        # x_0 is the network's own: the pipeline's state may be all noise, which says nothing of it.
        eps, clean = self.own.to_eps(*own), self.own.to_clean(*own)
        converted = pipeline.predict(eps, clean, t).to(predicted.dtype)
        if isinstance(output, tuple):
            return (converted, *output[1:])
        output.sample = converted
        return output

    def match(self, scheduler: object, t: float) -> Match | None:
        """Return the network's own timestep for one of the pipeline; None where they are the same."""
        pipeline = self._convention_of(scheduler)
        return None if self._is_same else match_timestep(pipeline.schedule, self.own.schedule, t)

    def _convention_of(self, scheduler: object) -> Convention:
        if scheduler is not self._scheduler:
            pipeline = convention_of(config_of(scheduler))
            is_same = self.own.prediction == pipeline.prediction and have_one_schedule(self.own, pipeline)
            self._scheduler, self._pipeline, self._is_same = scheduler, pipeline, is_same
        return self._pipeline


def match_steps(steps: Sequence[PlannedStep], calls: Sequence[MatchedCall], scheduler: object) -> list[PlannedStep]:
    """Write into a plan the own timesteps of the denoisers that have a call here, and whether they are clamped."""
    matches = [_match(step.model, step.timestep, calls, scheduler) for step in steps]
    return [
        step if match is None else replace(step, own_timestep=match.timestep, is_clamped=match.is_clamped)
        for step, match in zip(steps, matches, strict=True)
    ]


def warn_of_clamped(
    allocation: Allocation, timesteps: Sequence[float], calls: Sequence[MatchedCall], scheduler: object
) -> None:
    """Warn of steps that lie beyond the noise schedule of the denoiser that takes them."""
    matches = [(t, _match(model, t, calls, scheduler)) for model, t in zip(allocation, timesteps, strict=True)]
    clamped = [f"{t:g}" for t, match in matches if match is not None and match.is_clamped]
    if clamped:
        warnings.warn(
            f"t = {', '.join(clamped)} is beyond the noise schedule of the denoiser that takes it, which is given its "
            "own last timestep; its plan() says which", stacklevel=2,
        )  # fmt: skip


def _match(model: int, t: float, calls: Sequence[MatchedCall], scheduler: object) -> Match | None:
    return calls[model].match(scheduler, t) if model < len(calls) else None


def _form_of(timestep: Tensor | float, forms: Sequence[Form], t: float) -> Form:
    value = float(timestep.flatten()[0]) if isinstance(timestep, Tensor) else float(timestep)
    for form in forms:
        if abs(form.of(t) - value) <= 5e-3 * max(abs(value), abs(form.scale)):  # bf16 has three digits
            return form
    raise UserError(f"the network is given {value:g} for timestep {t:g}, a form that allow=['schedule'] does not know")


def _like(timestep: Tensor | float, value: float) -> Tensor | float:
    """Write a real number as the pipeline writes its timestep."""
    if not isinstance(timestep, Tensor):
        return value
    dtype = timestep.dtype if timestep.is_floating_point() else torch.float32
    return torch.full(timestep.shape, value, dtype=dtype, device=timestep.device)
