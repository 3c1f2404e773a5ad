"""Stitch a diffusers pipeline: `stitch(pipe, small, fraction=0.4)`, and `unstitch(pipe)`."""

import inspect
import warnings
from collections.abc import Sequence
from numbers import Real

from torch import nn

from tstitch.adaptive import parse_rule
from tstitch.dropin.compatibility import check_fits
from tstitch.dropin.holders import check_scheduler, replace
from tstitch.dropin.step_counter import StepCounter
from tstitch.dropin.stitched import StitchedDenoiser
from tstitch.errors import UserError
from tstitch.solvers.scheduler_convention import convention_of, find_scheduler_config


def stitch(
    pipe: object, *small: object, residency: str = "both", guidance_scale: Sequence[float] | None = None,
    adapters: Sequence[str | Sequence[str] | None] | None = None, allow: Sequence[str] = (),
    component: str | None = None, **shares: object,
) -> StitchedDenoiser:  # fmt: skip
    """Let `small` take the first solver steps of `pipe` and its own, large denoiser the rest (paper, section 3.2).

    The pipeline is used as before; `pipe.unet` (or `pipe.transformer`) is then the stitched denoiser, which is also
    returned. Shares are of the solver steps that a call really runs: of half of them at strength 0.5.

    Args:
        pipe: a diffusers pipeline with a `scheduler` and one `unet` or `transformer`.
        small: one or more denoisers, or pipelines that hold them, from small to large.
        residency: `both` keeps all denoisers on the device; `swap` only the one at work, the others in host memory.
        guidance_scale: one for each denoiser, above 1, where the pipeline reads its scale in each step.
        adapters: for each denoiser the LoRA adapters that are active in its steps, None for none of them.
        allow: differences that would be refused, of `tstitch.dropin.compatibility.WAIVABLE`. With
            `guidance_embedding`, a denoiser that has no such embedding is not given it; with `schedule`, states and
            predictions are converted between noise schedules and prediction types (eps, v, x_0, flow).
        component: `transformer` or `transformer_2` of a pipeline that has both and switches between them by itself, as
            Wan 2.2: the one that `small` stands in for. Shares are of all steps; those of the other stay its own.
        shares: one of `fraction`, `fractions`, `counts`, `allocation`, `boundary`, `log_snr_boundaries`; see
            `tstitch.allocate.parse_shares`. Or `rule=LatentChange(...)`, by which each call decides as it runs.

    Raises:
        UserError: something does not fit, with the reason. The pipeline is then as it was.

    Example:
        >>> stitched = stitch(pipe, small, fraction=0.4)
        >>> image = pipe("a cat", num_inference_steps=5).images[0]
        >>> stitched.allocation
        (0, 0, 1, 1, 1)
    """
    name, total = component or _component(pipe), len(small) + 1
    check_scheduler(pipe.scheduler)
    large = getattr(pipe, name)
    if isinstance(_plain(large), StitchedDenoiser):
        raise UserError(f"this pipeline is stitched already; change pipe.{name}.allocate(...), or unstitch(pipe) first")
    if not small or residency not in ("both", "swap"):
        raise UserError(f"stitch needs a small denoiser and residency both or swap, got {len(small)} and {residency!r}")
    if hasattr(large, "_hf_hook"):
        raise UserError("CPU offload is on already; call stitch first and enable_model_cpu_offload after it")
    networks = [each if isinstance(each, nn.Module) else getattr(each, name, each) for each in small]
    if any(map(_has_group_offload, (*networks, large))):
        raise UserError("group offload is on already; call stitch first and its enable_group_offload after it")
    for each, network in zip(small, networks, strict=True):
        check_fits(network, None if each is network else each, large, pipe, allow)
    for key, values in {"guidance_scale": guidance_scale, "adapters": adapters}.items():
        if values is not None and (not isinstance(values, Sequence) or len(values) != total):
            raise UserError(f"{key} needs {total} values, one for each denoiser, got {values}")
    if guidance_scale is not None:
        _check_guidance(pipe, large, guidance_scale)
    names = adapters and [[each] if isinstance(each, str) else list(each or ()) for each in adapters]
    denoisers, counter = [*networks, large], StepCounter(pipe)
    own = None
    if "schedule" in allow:
        pipes = [None if each is network else each for each, network in zip(small, networks, strict=True)]
        own = [convention_of(find_scheduler_config(*each)) for each in zip(networks, pipes, strict=True)]
    stitched = StitchedDenoiser(denoisers, parse_rule(total, shares), counter, residency, guidance_scale, names, own)
    counter.watch()
    try:
        stitched.to(large.device)
    except BaseException:
        counter.release()
        raise
    replace(pipe, large, stitched)
    return stitched


def unstitch(pipe: object) -> object:
    """Give `pipe` its own denoiser back and leave its scheduler as it was; returns the pipeline.

    Adapters are active as the user had them, before `stitch` or by a change since.

    Raises:
        UserError: it is not stitched.

    Example:
        >>> large = pipe.unet
        >>> stitched = stitch(pipe, small, fraction=0.4)
        >>> unstitch(pipe).unet is large
        True
    """
    name, stitched = find_stitched(pipe)
    if "_hf_hook" in vars(stitched):
        pipe.remove_all_hooks()
        warnings.warn("CPU offload was of the stitched denoiser; enable it again after unstitch", stacklevel=2)
    stitched.counter.release()
    stitched.leave()
    for each in (getattr(pipe, name), stitched):  # the first may be compiled
        replace(pipe, each, stitched.denoisers[-1].to(stitched.device))
    return pipe


def find_stitched(pipe: object) -> tuple[str, StitchedDenoiser]:
    """Return the stitched denoiser of a pipeline and the name it is held by; `UserError` where it has none."""
    held = [name for name, value in vars(pipe).items() if isinstance(_plain(value), StitchedDenoiser)]
    name = held[0] if held else _component(pipe)
    stitched = _plain(getattr(pipe, name))
    if not isinstance(stitched, StitchedDenoiser):
        raise UserError(f"this {type(pipe).__name__} is not stitched")
    return name, stitched


def _has_group_offload(denoiser: object) -> bool:
    """Tell whether diffusers fetches the weights of some layers of a denoiser when they are called."""
    hooks = [getattr(each, "_diffusers_hook", None) for each in getattr(denoiser, "modules", list)()]
    return any(each is not None and each.get_hook("group_offloading") is not None for each in hooks)


def _component(pipe: object) -> str:
    known = ("unet", "transformer", "unet_2", "transformer_2")
    components = [name for name in known if getattr(pipe, name, None) is not None]
    if len(components) != 1 or not hasattr(pipe, "scheduler"):
        raise UserError(
            f"stitch needs a pipeline with a scheduler and one unet or transformer, got {type(pipe).__name__}; priors, "
            "decoders and upsamplers are sampled by themselves; of two transformers name one with component="
        )
    return components[0]


def _plain(module: object) -> object:
    """Return the module inside `torch.compile`. A stitched one answers with the attributes of its large denoiser."""
    return module if type(module) is StitchedDenoiser else getattr(module, "_orig_mod", module)


def _check_guidance(pipe: object, large: nn.Module, scales: Sequence[float]) -> None:
    if any(not isinstance(scale, Real) or not scale > 1 for scale in scales):
        raise UserError(f"per-stage guidance scales must be above 1, got {list(scales)}")
    if large.config.get("time_cond_proj_dim") or large.config.get("guidance_embeds"):
        raise UserError("per-stage guidance has no effect on a denoiser that takes the guidance scale as an input")
    if "self.guidance_scale *" not in inspect.getsource(type(pipe).__call__):
        raise UserError(
            f"{type(pipe).__name__} reads its guidance scale once per call; it cannot differ between stages"
        )
