"""LoRA adapters by stage. Which are active is switched; the scales stay as the user set them."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from torch import nn

from tstitch.errors import UserError

AdapterState = tuple[tuple[tuple[str, ...], bool], ...]  # of each LoRA layer, the active adapters and whether disabled


class StageAdapters:
    """Adapters that are active in the stage of each denoiser.

    Args:
        names: of each denoiser, empty for no adapters.
    """

    def __init__(self, names: Sequence[Sequence[str]]):
        self.names = names
        self._states: WeakKeyDictionary[nn.Module, tuple[AdapterState, AdapterState]] = WeakKeyDictionary()

    def check(self, index: int, denoiser: nn.Module) -> None:
        """Raise `UserError` where the denoiser does not have the adapters of its stage."""
        loaded = list(getattr(denoiser, "peft_config", None) or ())
        if missing := [name for name in self.names[index] if name not in loaded]:
            raise UserError(
                f"adapters names {', '.join(missing)} for denoiser {index}, which has {', '.join(loaded) or 'none'}; "
                f"load it with pipe.load_lora_weights, within addressing({index}) if it is not the large one"
            )

    def enter(self, index: int, denoiser: nn.Module) -> None:
        """Activate the adapters of stage `index` in its denoiser."""
        if not getattr(denoiser, "peft_config", None):
            return
        state = adapter_state(denoiser)
        before, after = self._states.get(denoiser, (state, state))
        if self.names[index]:
            denoiser.enable_adapters()
            denoiser.set_adapter(list(self.names[index]))
        else:
            denoiser.disable_adapters()
        # A state that is not the one set here is the user's choice since then.
        self._states[denoiser] = (before if state == after else state, adapter_state(denoiser))

    def leave(self, denoiser: nn.Module) -> None:
        """Put back which adapters the user had active, unless the user changed that since the last stage."""
        before, after = self._states.pop(denoiser, ((), None))
        if adapter_state(denoiser) == after:
            for layer, (active, is_disabled) in zip(_lora_layers(denoiser), before, strict=True):
                layer.set_adapter(list(active))
                layer.enable_adapters(not is_disabled)


def adapter_state(denoiser: nn.Module) -> AdapterState:
    """Read which adapters are active in each LoRA layer."""
    return tuple((tuple(layer.active_adapters), bool(layer.disable_adapters)) for layer in _lora_layers(denoiser))


def _lora_layers(denoiser: nn.Module) -> list[nn.Module]:
    return [module for module in denoiser.modules() if hasattr(module, "base_layer") and hasattr(module, "set_adapter")]
