"""The settings of `scripts.allocation`: those of sampling, and of other codebases."""

from pydantic import Field, model_validator

from settings.base import refuse
from settings.names import ALLOCATION
from settings.sampling import SamplingSettings
from settings.types import Count, Share

STATIC = (ALLOCATION, "track", "knapsack")  # routers whose allocation is known before the run
FOREIGN = ("denoising_end", "boundary_ratio", "unet_s_ratio")


class AllocationSettings(SamplingSettings):
    """The settings of `scripts.allocation`."""

    denoising_end: Share | None = Field(
        description="SDXL in diffusers: the share of the schedule that the first model denoises"
    )
    boundary_ratio: Share | None = Field(
        description="Wan2.2 in diffusers: the high-noise model takes t >= ratio * 1000"
    )
    unet_s_ratio: Share | None = Field(
        description="the release's Stable Diffusion scripts: calls of the small U-Net, rounded down"
    )
    num_calls: Count | None = Field(
        description="with unet_s_ratio: the scheduler's timesteps where they are not the steps (PNDM: one more)"
    )

    @model_validator(mode="after")
    def _check_foreign(self) -> "AllocationSettings":
        if self.router.kind not in STATIC:
            raise refuse(f"router={self.router.kind} decides as it runs; scripts.sample dry_run=true tries it")
        given = [key for key in FOREIGN if getattr(self, key) is not None]
        if len(given) > 1:
            raise refuse(f"{given[0]} and {given[1]} are both set; give one")
        if self.num_calls is not None and self.unet_s_ratio is None:
            raise refuse("num_calls is with unet_s_ratio; give both")
        if given and len(self.pair.denoisers) != 2:
            raise refuse(f"{given[0]} is for two denoisers, pair={self.pair.name} has {len(self.pair.denoisers)}")
        if given and self.stitch.explicit:
            raise refuse(f"{given[0]} and stitch.{self.stitch.explicit[0]} are both set; give one")
        return self
