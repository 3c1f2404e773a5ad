"""Attention processors that a pipeline sets during its call (as PAG does): in all denoisers, and taken back."""

from collections.abc import Mapping, Sequence

from torch import nn

from tstitch.dropin.holders import running_pipe
from tstitch.errors import UserError

Processors = dict[str, object]  # name of a layer -> its processor


class CallProcessors:
    """Attention processors of several denoisers, as they were before a pipeline's call changed them."""

    def __init__(self) -> None:
        self._before: list[Processors] | None = None
        self._is_changed, self._was_run = False, False

    def read(self, denoisers: Sequence[nn.Module], index: int, is_running: bool) -> Processors:
        """Return those of denoiser `index`; during a call, which may change them next, note those of all.

        Args:
            is_running: the denoisers have been called in this run. Where they have not, but have since the note, the
                call that it was of is over: it was broken off, or only looked.
        """
        if self._was_run and not is_running:
            self.restore(denoisers)
        if self._before is None and running_pipe() is not None:
            self._before, self._was_run = _processors_of(denoisers), is_running
        return denoisers[index].attn_processors

    def begin(self, denoisers: Sequence[nn.Module]) -> None:
        """Note that a run begins; some calls have put processors into the layers themselves by now."""
        self._was_run = True
        self._is_changed = self._is_changed or (self._before is not None and _processors_of(denoisers) != self._before)

    def set(self, denoisers: Sequence[nn.Module], index: int, processor: object, is_running: bool) -> None:
        """Set them in denoiser `index`, and during a call in all; where the call sets what was there, take all back.

        Args:
            processor: one for all layers, or a processor for each layer by its name.
            is_running: see `read`.

        Raises:
            UserError: a denoiser has layers of other names.
        """
        if running_pipe() is None:
            self.restore(denoisers)  # from a call that was broken off
            denoisers[index].set_attn_processor(processor)
            return
        self.read(denoisers, index, is_running)  # what was there, where the call did not look
        self._is_changed = True
        if not isinstance(processor, Mapping):
            for each in denoisers:
                each.set_attn_processor(processor)
        elif self._before and all(processor.get(name) is each for name, each in self._before[index].items()):
            self.restore(denoisers)
        else:
            if others := [n for n, each in enumerate(denoisers) if each.attn_processors.keys() != processor.keys()]:
                raise UserError(
                    f"the pipeline sets an attention processor in each layer of its denoiser, and denoiser {others[0]} "
                    "has other layers; stitch denoisers with the same layers, or run it alone"
                )
            for each in denoisers:
                each.set_attn_processor(dict(processor))

    def restore(self, denoisers: Sequence[nn.Module]) -> None:
        """Put back what was there before the latest call, where that changed them."""
        for each, before in zip(denoisers, self._before or (), strict=False):
            if before and self._is_changed:
                each.set_attn_processor(dict(before))
        self._before, self._is_changed, self._was_run = None, False, False


def _processors_of(denoisers: Sequence[nn.Module]) -> list[Processors]:
    return [dict(getattr(each, "attn_processors", {})) for each in denoisers]
