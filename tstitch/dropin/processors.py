"""Attention processors that a pipeline sets during its call (as PAG does): in all denoisers, and taken back."""

import sys
from collections.abc import Mapping, Sequence

from torch import nn

from tstitch.errors import UserError

Processors = dict[str, object]  # name of a layer -> its processor


class CallProcessors:
    """Attention processors of several denoisers, as they were before a pipeline's call changed them."""

    def __init__(self) -> None:
        self._before: list[Processors] | None = None

    def read(self, denoisers: Sequence[nn.Module], index: int) -> Processors:
        """Return those of denoiser `index`; during a call, which may change them next, note those of all."""
        if self._before is None and is_in_call():
            self._before = [dict(getattr(each, "attn_processors", {})) for each in denoisers]
        return denoisers[index].attn_processors

    def set(self, denoisers: Sequence[nn.Module], index: int, processor: object) -> None:
        """Set them in denoiser `index`, and during a call in all; where the call sets what was there, take all back.

        Args:
            processor: one for all layers, or a processor for each layer by its name.

        Raises:
            UserError: a denoiser has layers of other names.
        """
        if not is_in_call():
            denoisers[index].set_attn_processor(processor)
            return
        self.read(denoisers, index)  # what was there, where the call did not look
        if not isinstance(processor, Mapping):
            for each in denoisers:
                each.set_attn_processor(processor)
        elif self._before and all(processor.get(name) is each for name, each in self._before[index].items()):
            self.restore(denoisers)
        else:
            for number, each in enumerate(denoisers):
                if each.attn_processors.keys() != processor.keys():
                    raise UserError(
                        f"the pipeline sets an attention processor in each layer of its denoiser, and denoiser "
                        f"{number} has other layers; stitch denoisers with the same layers, or run it alone"
                    )
            for each in denoisers:
                each.set_attn_processor(dict(processor))

    def restore(self, denoisers: Sequence[nn.Module]) -> None:
        """Put back what was there before the latest call that changed them."""
        for each, before in zip(denoisers, self._before or (), strict=False):
            if before:
                each.set_attn_processor(dict(before))
        self._before = None


def is_in_call() -> bool:
    """Tell whether a pipeline's `__call__` or `invert` is running: the stack is the only place that says so."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("__call__", "invert") and hasattr(frame.f_locals.get("self"), "scheduler"):
            return True
        frame = frame.f_back
    return False
