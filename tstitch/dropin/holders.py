"""Pipelines that a pipeline holds (Kandinsky's combined ones, VisualCloze), the one that runs, their schedulers."""

import inspect
import sys

from torch import nn

from tstitch.errors import UserError


def pipelines_of(pipe: object | None) -> list[object]:
    """List a pipeline and those that it holds, at any depth, the outer ones first; none for one that is gone."""
    if pipe is None:
        return []
    inner = [value for value in vars(pipe).values() if hasattr(value, "scheduler") and hasattr(value, "components")]
    return [pipe, *(each for value in inner for each in pipelines_of(value))]


def running_pipe() -> object | None:
    """Return the innermost pipeline whose `__call__` or `invert` is running: the stack is the only place that says."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("__call__", "invert") and hasattr(frame.f_locals.get("self"), "scheduler"):
            return frame.f_locals["self"]
        frame = frame.f_back
    return None


def schedulers_of(pipe: object | None) -> list[object]:
    """List what is stepped in a pipeline and in those that it holds, each once; its own `scheduler` is the first."""
    parts = [value for each in pipelines_of(pipe) for value in vars(each).values()]
    values = [getattr(pipe, "scheduler", None), *parts]
    steppers = {id(each): each for each in values if hasattr(each, "set_timesteps") and hasattr(each, "step")}
    return list(steppers.values())


def check_scheduler(scheduler: object) -> None:
    """Raise `UserError` where a scheduler is not stepped by the timestep, so that its steps cannot be told."""
    step = getattr(type(scheduler), "step", None)
    if step is None or not hasattr(scheduler, "set_timesteps") or "timestep" not in inspect.signature(step).parameters:
        raise UserError(
            f"the steps of a {type(scheduler).__name__} cannot be counted: it has no step(model_output, timestep, "
            "sample); give the pipeline a scheduler that has, or run it alone"
        )


def replace(pipe: object, old: nn.Module, new: nn.Module) -> None:
    """Put another network in the place of `old`, under each name that a pipeline, or one that it holds, has for it."""
    for each in pipelines_of(pipe):
        for name in [name for name, value in vars(each).items() if value is old]:
            setattr(each, name, new)
