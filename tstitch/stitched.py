"""Several denoisers of a diffusers pipeline that look like one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from tstitch.allocation import Allocation, describe_allocation
from tstitch.errors import UserError
from tstitch.solver_clock import SolverClock, Trajectory
from tstitch.split import Split, make_split

GUIDANCE_INPUTS = {"time_cond_proj_dim": "timestep_cond", "guidance_embeds": "guidance"}
HOOKS = ("_hf_hook", "_old_forward", "_diffusers_hook")  # accelerate's and diffusers', of one module only
FOR_ALL = ("_reset_stateful_cache", "enable_group_offload", "compile_repeated_blocks")


class StitchedDenoiser(nn.Module):
    """One denoiser per solver step, behind the face of the last, large one.

    What it does not have itself (`config`, `dtype`, `add_embedding`, attention processors, LoRA loading, `isinstance`)
    is the large denoiser's, or that of `addressing(index)`. `.to`, `parameters` and `state_dict` are over all.

    Attributes:
        denoisers: small to large.
        allocation: of the latest run, a denoiser index for each solver step; None before the first.
    """

    def __init__(
        self, denoisers: Sequence[nn.Module], split: Split, clock: SolverClock, residency: str = "both",
        guidance_scales: Sequence[float] | None = None, adapters: Sequence[Sequence[str]] | None = None,
    ):  # fmt: skip
        super().__init__()
        self.denoisers = nn.ModuleList(denoisers)
        self.residency, self.guidance_scales, self.adapters = residency, guidance_scales, adapters
        self.allocation: Allocation | None = None
        self.__module__ = self.__class__.__module__  # pipelines write it into model_index.json
        self.clock, self._split = clock, split
        self._trajectory: Trajectory | None = None
        self._active, self._addressed = 0, len(denoisers) - 1
        self._home: torch.device | None = None

    @property
    def __class__(self) -> type:
        """The large denoiser's class: pipelines look at it when they save and when they load LoRA."""
        networks = vars(self).get("_modules", {}).get("denoisers")
        return getattr(networks[-1], "_orig_mod", networks[-1]).__class__ if networks else StitchedDenoiser

    def __getattr__(self, name: str) -> object:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in HOOKS or "denoisers" not in vars(self).get("_modules", {}):
                raise
        methods = [getattr(each, name) for each in self.denoisers if name in FOR_ALL and hasattr(each, name)]
        if methods:
            return lambda *args, **kwargs: [method(*args, **kwargs) for method in methods]
        return getattr(self.denoisers[self._addressed], name)

    @property
    def config(self) -> object:
        """The large denoiser's; pipelines read it before they set their scheduler, which is a chance to hear that."""
        self.clock.watch()
        return self.denoisers[self._addressed].config

    @property
    def device(self) -> torch.device:
        """Where the denoisers work."""
        return self._home or self.denoisers[self._addressed].device

    def allocate(self, **how: object) -> None:
        """Share out the steps of the next runs anew: `fraction`, `fractions`, `counts`, `allocation` or `boundary`."""
        self._split, self._trajectory = make_split(len(self.denoisers), **how), None

    def describe(self) -> str:
        """Which denoiser took which steps of the latest run, in a line."""
        if self._trajectory is None:
            return "no run yet"
        names = [f"{index} ({each.__class__.__name__})" for index, each in enumerate(self.denoisers)]
        return describe_allocation(self.allocation, self._trajectory.timesteps, names)

    @contextmanager
    def addressing(self, index: int) -> Iterator[None]:
        """Within it, attributes are those of denoiser `index`: `pipe.load_lora_weights` then loads into that one."""
        self._addressed, before = range(len(self.denoisers))[index], self._addressed
        try:
            yield
        finally:
            self._addressed = before

    @contextmanager
    def cache_context(self, *args: object, **kwargs: object) -> Iterator[None]:
        """diffusers' context of cached calls, entered for every denoiser that knows it."""
        with ExitStack() as stack:
            for each in self.denoisers:
                if hasattr(each, "cache_context"):
                    stack.enter_context(each.cache_context(*args, **kwargs))
            yield

    def save_pretrained(self, *args: object, **kwargs: object) -> None:
        """Save the large denoiser, and say so."""
        warnings.warn("only the large denoiser of a stitched one is saved; save the others by themselves", stacklevel=2)
        self.denoisers[-1].save_pretrained(*args, **kwargs)

    def compile(self, *args: object, **kwargs: object) -> None:
        """`torch.compile` each denoiser in place."""
        for each in self.denoisers:
            each.compile(*args, **kwargs)

    def to(self, *args: object, **kwargs: object) -> StitchedDenoiser:
        """Move or cast all denoisers; with residency `swap` only the one at work goes to a device."""
        if self.residency == "both":
            return super().to(*args, **kwargs)
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        self._home = device or self._home
        cast = {"dtype": dtype} if dtype is not None else {}
        resting = [index for index in range(len(self.denoisers)) if index != self._active]
        for index in (*resting, self._active):
            place = {"device": device if index == self._active else "cpu"} if device is not None else {}
            self.denoisers[index].to(**place, **cast)
        return self

    @torch.compiler.disable(recursive=False)
    def forward(self, *args: object, **kwargs: object) -> object:
        """Call the denoiser of this solver step; `UserError` outside a run, or where the allocation does not fit it."""
        trajectory, step = self.clock.now(kwargs.get("timestep", args[1] if len(args) > 1 else None))
        is_new = trajectory is not self._trajectory
        if is_new:
            self.allocation, self._trajectory = self._split(trajectory.timesteps), trajectory
        if is_new or self.allocation[step] != self._active:
            self._enter(self.allocation[step])
        if self.guidance_scales is not None:
            if self.clock.pipe._guidance_scale <= 1:
                raise UserError("per-stage guidance needs a call with a guidance_scale above 1")
            self.clock.pipe._guidance_scale = self.guidance_scales[self._active]
        denoiser = self.denoisers[self._active]
        for key, name in GUIDANCE_INPUTS.items():
            if not denoiser.config.get(key):
                kwargs.pop(name, None)  # the large one has a guidance embedding, this one does not
        return denoiser(*args, **kwargs)

    def _enter(self, index: int) -> None:
        self._active, denoiser = index, self.denoisers[index]
        if self.adapters is not None and getattr(denoiser, "peft_config", None):
            if self.adapters[index]:
                denoiser.enable_adapters()
                denoiser.set_adapters(list(self.adapters[index]))
            else:
                denoiser.disable_adapters()
        if self.residency == "both" or hasattr(denoiser, "_hf_hook"):
            return
        if self.device.type == "cpu":
            warnings.warn("residency='swap' has no effect on a CPU", stacklevel=2)
        self.to(self.device)
