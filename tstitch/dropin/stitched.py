"""Several denoisers of a diffusers pipeline that look like one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from tstitch.adaptive import LatentChange, parse_rule
from tstitch.allocate import Shares
from tstitch.allocation import Allocation, describe_allocation
from tstitch.convention import Convention
from tstitch.dropin.adapters import StageAdapters
from tstitch.dropin.arguments import check_arguments
from tstitch.dropin.image_prompt import differing_scales
from tstitch.dropin.processors import CallProcessors
from tstitch.dropin.step_counter import StepCounter
from tstitch.errors import UserError
from tstitch.matched_call import MatchedCall, match_steps, warn_of_clamped
from tstitch.solvers.scheduler_steps import PlannedStep, Trajectory, allocate, plan_steps
from tstitch.solvers.timestep_check import timestep_input
from tstitch.transfer import without_moving

GUIDANCE_INPUTS = {"time_cond_proj_dim": "timestep_cond", "guidance_embeds": "guidance"}
HOOKS = ("_hf_hook", "_old_forward", "_diffusers_hook")  # accelerate's and diffusers', of one module only
LATENT_INPUTS = ("sample", "hidden_states", "x")
FOR_ALL = ("_reset_stateful_cache", "enable_group_offload", "compile_repeated_blocks")


class StitchedDenoiser(nn.Module):
    """Module that passes each call to the denoiser of the current solver step; attributes are the large one's.

    What it does not have itself (`config`, `dtype`, `add_embedding`, attention processors, LoRA loading, `isinstance`)
    is the large denoiser's, or that of `addressing(index)`. `.to`, `parameters` and `state_dict` are over all.

    Attributes:
        denoisers: small to large.
        allocation: of the latest run, a denoiser index for each solver step; None before the first.
        shares: by which the steps of the next runs are shared out.
        trajectory: of the latest run; None before the first.
    """

    def __init__(
        self, denoisers: Sequence[nn.Module], shares: Shares | LatentChange, counter: StepCounter,
        residency: str = "both", guidance_scales: Sequence[float] | None = None,
        adapters: Sequence[Sequence[str]] | None = None, conventions: Sequence[Convention] | None = None,
    ):  # fmt: skip
        super().__init__()
        self.residency, self.guidance_scales = residency, guidance_scales
        self.adapters = None if adapters is None else StageAdapters(adapters)
        self.allocation: Allocation | None = None
        self.counter, self.shares = counter, shares
        self.trajectory, self._route, self._home = None, None, None
        self._models_of_steps: dict[int, int] = {}  # as they were called
        self._processors = CallProcessors()
        self._active, self._addressed = 0, len(denoisers) - 1
        self._warned_of_steps, self._warned_of_scales = set(), []
        self._timestep_input = timestep_input(denoisers[-1])
        self._matched = [MatchedCall(own, self._timestep_input[0]) for own in conventions or ()]  # of the small ones
        self.denoisers = nn.ModuleList(denoisers)  # from here on other attributes are set on a denoiser
        self.__module__ = self.__class__.__module__  # pipelines write it into model_index.json

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

    def __setattr__(self, name: str, value: object) -> None:
        """Set what only the denoisers have (`encoder_hid_proj`) where it is read from."""
        networks = vars(self).get("_modules", {}).get("denoisers")
        is_known = name in vars(self) or hasattr(StitchedDenoiser, name) or name in HOOKS
        if networks is None or is_known or not hasattr(networks[self._addressed], name):
            super().__setattr__(name, value)
        else:
            setattr(networks[self._addressed], name, value)

    @property
    def config(self) -> object:
        """The large denoiser's configuration. Pipelines read it before they set their scheduler."""
        self.counter.watch()
        return self.denoisers[self._addressed].config

    @property
    def device(self) -> torch.device:
        """The device of the denoisers."""
        return self._home or self.denoisers[self._addressed].device

    def allocate(self, **how: object) -> None:
        """Share out the steps of the next runs anew, with the words that `stitch` takes.

        Example:
            >>> stitched = stitch(pipe, small, fraction=0.4)
            >>> stitched.allocate(counts=[1, 3])
            >>> [step.model for step in stitched.plan(4)]
            [0, 1, 1, 1]
        """
        self.shares, self.trajectory = parse_rule(len(self.denoisers), how), None
        self._warned_of_steps.clear()

    def describe(self) -> str:
        """Say in a line which denoiser took which steps of the latest run, as the denoisers were called.

        Example:
            >>> stitched = stitch(pipe, small, fraction=0.5)
            >>> stitched.describe()
            'no run yet'
            >>> image = pipe("a cat", num_inference_steps=2).images[0]
            >>> stitched.describe()
            '0 (UNet2DConditionModel) takes 1 step (t = 501), 1 (UNet2DConditionModel) takes 1 step (t = 1)'
        """
        if self.trajectory is None:
            return "no run yet"
        names = [f"{index} ({each.__class__.__name__})" for index, each in enumerate(self.denoisers)]
        steps, total = sorted(self._models_of_steps), len(self.allocation)
        timesteps = [self.trajectory.timesteps[step] for step in steps]
        taken = describe_allocation(tuple(self._models_of_steps[step] for step in steps), timesteps, names)
        return (
            taken if len(steps) == total else f"{taken or 'no denoiser was called'}; {len(steps)} of {total} steps ran"
        )

    def plan(self, num_inference_steps: int | None = None, **settings: object) -> list[PlannedStep]:
        """Return the steps of a whole run as they are shared out now: denoiser, timestep, noise level and share.

        With `allow=["schedule"]` also the timestep on the denoiser's own schedule, and where that does not go as far.

        Args:
            num_inference_steps: of the call.
            settings: further arguments of the scheduler's `set_timesteps`: `timesteps`, `sigmas`, `mu`.

        Raises:
            UserError: the scheduler or the shares do not take these.

        Example:
            >>> stitched = stitch(pipe, small, boundary=600)
            >>> for step in stitched.plan(num_inference_steps=4):
            ...     print(step.model, step.timestep, round(step.sigma, 2), step.share)
            0 751 4.12 0.25
            1 501 1.62 0.75
            1 251 0.7 0.75
            1 1 0.04 0.75
        """
        given = {} if num_inference_steps is None else {"num_inference_steps": num_inference_steps}
        scheduler = self.counter.pipe.scheduler
        return match_steps(plan_steps(scheduler, self.shares, {**given, **settings}), self._matched, scheduler)

    def __repr__(self) -> str:
        """List the denoisers with their parameters, dtype and device, the shares, and the latest run."""
        rows = [
            f"  {index}: {each.__class__.__name__}, {sum(map(Tensor.numel, each.parameters())):,} parameters, "
            f"{each.dtype}, {each.device}"
            for index, each in enumerate(self.denoisers)
        ]
        shares = f"  {self.shares.kind}: {list(self.shares.values)}; {self.describe()}"
        return "\n".join(["StitchedDenoiser(", *rows, shares, ")"])

    @property
    def attn_processors(self) -> dict[str, object]:
        """The attention processors of the large denoiser, by the name of the layer."""
        return self._processors.read(self.denoisers, self._addressed, self.counter.is_running)

    def set_attn_processor(self, processor: object) -> None:
        """Set attention processors in the large denoiser, and while a pipeline's call sets them, in all."""
        self._processors.set(self.denoisers, self._addressed, processor, self.counter.is_running)

    def leave(self) -> None:
        """Give the denoisers back as they were: without what a call left in the small ones, and the user's adapters."""
        self._processors.restore(self.denoisers[:-1])
        for denoiser in self.denoisers if self.adapters is not None else ():
            self.adapters.leave(denoiser)

    @contextmanager
    def addressing(self, index: int) -> Iterator[None]:
        """Make attributes those of denoiser `index` in the context: `pipe.load_lora_weights` loads into that one.

        Example:
            >>> stitched = stitch(pipe, small, fraction=0.4)
            >>> with stitched.addressing(0):
            ...     stitched.config is small.config
            True
        """
        self._addressed, before = range(len(self.denoisers))[index], self._addressed
        try:
            yield
        finally:
            self._addressed = before

    @contextmanager
    def cache_context(self, *args: object, **kwargs: object) -> Iterator[None]:
        """Enter diffusers' context of cached calls for every denoiser that knows it."""
        with ExitStack() as stack:
            for each in (each for each in self.denoisers if hasattr(each, "cache_context")):
                stack.enter_context(each.cache_context(*args, **kwargs))
            yield

    def save_pretrained(self, *args: object, **kwargs: object) -> None:
        """Save the large denoiser, and say so."""
        warnings.warn("only the large denoiser of a stitched one is saved; save the others by themselves", stacklevel=2)
        self.denoisers[-1].save_pretrained(*args, **kwargs)

    def compile(self, *args: object, **kwargs: object) -> None:
        """Compile each denoiser in place, with `torch.compile`."""
        for each in self.denoisers:
            each.compile(*args, **kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> StitchedDenoiser:
        """Move or cast all denoisers (`to`, `cuda`, `half`, ...); with residency `swap` only the one at work moves."""
        if self.residency == "both":
            return super()._apply(fn, recurse)
        active = self.denoisers[self._active]
        for denoiser in self.denoisers:
            if denoiser is not active:
                denoiser._apply(partial(without_moving, fn))
        active._apply(fn)
        self._home = next(active.parameters()).device
        return self

    @torch.compiler.disable(recursive=False)
    def forward(self, *args: object, **kwargs: object) -> object:
        """Call the denoiser of this solver step; `UserError` outside a run, or where the allocation does not fit it."""
        trajectory, step = self.counter.now(self._timestep(args, kwargs))
        is_new = trajectory is not self.trajectory
        if is_new:
            self._begin(trajectory, kwargs)

        def ask(model: int, latents: object, timestep: object, rows: None = None) -> object:
            if is_new or model != self._active:
                self._enter(model)
            self._models_of_steps[step] = model
            self.allocation = (*self.allocation[:step], model, *self.allocation[step + 1 :])
            return self._call(model, args, kwargs)

        latents = args[0] if args else next((kwargs[key] for key in LATENT_INPUTS if key in kwargs), None)
        return self._route(trajectory.steps[step], latents, ask)(latents, trajectory.timesteps[step])

    def _call(self, model: int, args: tuple, kwargs: dict) -> object:
        """Call a denoiser with the arguments of the pipeline's own call."""
        if self.guidance_scales is not None:
            if getattr(self.counter.pipe, "_num_timesteps", None) is None:  # it sets this before its loop
                raise UserError("per-stage guidance works only in the pipeline that was stitched; stitch this one")
            if self.counter.pipe._guidance_scale <= 1:
                raise UserError("per-stage guidance needs a call with a guidance_scale above 1")
            self.counter.pipe._guidance_scale = self.guidance_scales[model]
        denoiser = self.denoisers[model]
        for key, name in GUIDANCE_INPUTS.items():
            if not denoiser.config.get(key):
                kwargs.pop(name, None)  # the large one has a guidance embedding, this one does not
        if model >= len(self._matched):
            return denoiser(*args, **kwargs)
        return self._matched[model](denoiser, *self.counter.expects(), args, kwargs)

    def _timestep(self, args: tuple, kwargs: dict) -> Tensor | float | None:
        name, position = self._timestep_input
        return kwargs.get(name, args[position] if len(args) > position else None)

    def _begin(self, trajectory: Trajectory, arguments: dict) -> None:
        """Make the allocation of a run, and check what its denoisers need, before the first step."""
        self.allocation, self.trajectory, self._models_of_steps = None, None, {}
        allocation = allocate(self.shares, trajectory, self.counter.schedule)
        if len(allocation) not in self._warned_of_steps:
            self._warned_of_steps.add(len(allocation))
            self.shares.warn_of_rounding(allocation)
            warn_of_clamped(allocation, trajectory.timesteps, self._matched, self.counter.expects()[0])
        indices = sorted(set(allocation))
        check_arguments(self.denoisers, indices, arguments)
        for index in indices if self.adapters is not None else ():
            self.adapters.check(index, self.denoisers[index])
        scales = differing_scales([self.denoisers[index] for index in indices])
        if scales and scales != self._warned_of_scales:
            warnings.warn(f"the denoisers have other IP-Adapter scales, {scales}; see addressing", stacklevel=2)
        self._warned_of_scales = scales
        self.allocation, self.trajectory = allocation, trajectory
        self._route = self.shares.start(allocation, trajectory.steps)
        self._processors.begin(self.denoisers)

    def _enter(self, index: int) -> None:
        self._active, denoiser = index, self.denoisers[index]
        if self.adapters is not None:
            self.adapters.enter(index, denoiser)
        is_offloaded = hasattr(denoiser, "_hf_hook") or any(each.is_meta for each in denoiser.parameters())
        if self.residency == "both" or is_offloaded:  # as a whole, or layer by layer
            return
        if self.device.type == "cpu":
            warnings.warn("residency='swap' has no effect on a CPU", stacklevel=2)
        self.to(self.device)
