"""The wish of a user, as the page's fields have it, and the overrides of the command that makes these images."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from settings.names import ALLOCATION
from settings.router import ROUTERS
from tstitch.errors import UserError

OF_FIELDS = (
    "stitch", "router", "sampler.num_steps", "guidance.scale", "seed", "num_images", "batch_size",
    "prompt", "captions", "scheduler", "call.num_inference_steps", "call.guidance_scale",
)  # fmt: skip
DECIDE_ALONE = {router.kind_name for router in ROUTERS if not router.takes_shares}


@dataclass(frozen=True)
class Wish:
    """The values of the fields, as they were typed.

    Attributes:
        num_denoisers: of the pair or pipeline.
        shares: of the steps, of each denoiser but the last.
        per_step: a denoiser index for each step, such as `0,0,1,1`; in place of the shares where it is not empty.
        router: a file of `configs/router`.
        knobs: settings of the router, such as `threshold=0.1 order=large_to_small`.
        sampler: a solver, or a scheduler class of diffusers; empty for a pipeline's own.
        seed: a number.
        guidance: a number, or a list of one for each denoiser.
        prompt: None for a pair with classes.
    """

    num_denoisers: int
    shares: tuple[float, ...]
    per_step: str
    router: str
    knobs: str
    num_steps: int
    sampler: str
    guidance: str
    seed: str
    num_images: int
    prompt: str | None = None

    @property
    def command(self) -> Literal["sample", "prompts"]:
        """The command that makes these images."""
        return "sample" if self.prompt is None else "prompts"

    def alone(self, denoiser: int) -> Wish:
        """The same trajectory with one denoiser for all steps."""
        shares = tuple(float(index == denoiser) for index in range(self.num_denoisers - 1))
        return replace(self, shares=shares, per_step="", router=ALLOCATION, knobs="")

    def overrides(self) -> list[str]:
        """The fields as `KEY=VALUE`.

        Raises:
            UserError: shares of more than all steps, or an interpolation, which would read this machine's variables.
        """
        if sum(self.shares) > 1:
            raise UserError(f"the shares are {sum(self.shares):g} together; 1 or less is accepted")
        for text in (self.per_step, self.knobs, self.sampler, self.guidance, self.seed):
            if "${" in text:
                raise UserError(f"fields take values, and {text!r} is an interpolation")
        if self.prompt is None:
            return [
                *self._stitch(),
                *self._router(),
                f"sampler={self.sampler}",
                f"sampler.num_steps={self.num_steps}",
                f"guidance.scale={self.guidance}",
                *self._size(),
            ]
        return [
            f"prompt={quoted(self.prompt)}",
            *self._stitch(),
            *([f"scheduler={self.sampler}"] if self.sampler else []),
            f"call.num_inference_steps={self.num_steps}",
            f"call.guidance_scale={self.guidance}",
            *self._size(),
        ]

    def _size(self) -> list[str]:
        return [f"seed={self.seed}", f"num_images={self.num_images}", f"batch_size={self.num_images}"]

    def _stitch(self) -> list[str]:
        if self.router in DECIDE_ALONE and not self.per_step.strip():
            return []
        default = "fractions" if self.prompt is None else "fraction"  # which the configuration of the command has
        if self.per_step.strip():
            return [f"stitch.{default}=null", f"stitch.denoiser_per_step=[{self.per_step.strip()}]"]
        if self.num_denoisers == 2:
            return [f"stitch.fraction={self.shares[0]:g}"]
        others = [] if self.prompt is None else ["stitch.fraction=null"]
        last = round(1 - sum(self.shares), 6)
        return [*others, f"stitch.fractions=[{','.join(f'{share:g}' for share in (*self.shares, last))}]"]

    def _router(self) -> list[str]:
        router = [] if self.router == ALLOCATION else [f"router={self.router}"]
        return [*router, *(f"router.{knob}" for knob in self.knobs.split())]


def command_line(command: str, overrides: Sequence[str]) -> str:
    """The command for a shell."""
    return shlex.join(["python", "-m", f"scripts.{command}", *overrides])


def is_of_a_field(override: str) -> bool:
    """Tell whether an override is of what a field of the page says: it is the field's first value then."""
    key = override.partition("=")[0].lstrip("+~")
    return key == "sampler" or any(key == own or key.startswith(f"{own}.") for own in OF_FIELDS)


def quoted(text: str) -> str:
    """Text as a value of Hydra's, in quotes: quotes and `${` in it are escaped, and the backslashes before them."""

    def escaped(match: re.Match) -> str:
        backslashes, special = match.groups()
        return 2 * backslashes + ("\\" if special else "") + special

    return '"' + re.sub(r'(\\*)("|\$\{|\Z)', escaped, text) + '"'
