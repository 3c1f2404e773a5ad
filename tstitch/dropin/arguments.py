"""Arguments that a pipeline passes to its denoiser, and whether every denoiser of the run can take them."""

from collections.abc import Sequence

from torch import nn

from tstitch.dropin.compatibility import residual_shapes
from tstitch.dropin.image_prompt import check_image_prompt
from tstitch.errors import UserError


def check_arguments(denoisers: Sequence[nn.Module], indices: Sequence[int], arguments: dict) -> None:
    """Raise `UserError` where the arguments of a call are of one denoiser only, and others take steps too.

    Args:
        denoisers: all of them.
        indices: of those that take a step in this run.
        arguments: keyword arguments of the call.
    """
    check_image_prompt(denoisers, indices, arguments)
    names = [name for name, value in arguments.items() if value is not None]
    if len(indices) > 1 and any("kv_cache" in name for name in names):
        raise UserError(
            "the pipeline keeps keys and values of one denoiser, which another cannot read; give all steps to one "
            "(fraction=0), or use this model's pipeline without a cache"
        )
    is_controlled = any("residual" in name or "controlnet" in name for name in names)
    shapes = {str(residual_shapes(denoisers[index].config)) for index in indices} if is_controlled else ()
    if len(shapes) > 1:
        raise UserError(
            f"the call has outputs of a ControlNet or an adapter, and its denoisers have blocks "
            f"{' and '.join(sorted(shapes))}: a ControlNet fits only one; give all steps to one, or run without"
        )
