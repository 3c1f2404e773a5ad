"""Networks that can be loaded, DiT, U-Net and autoencoder, and their shapes."""

from typing import Annotated, ClassVar

from pydantic import Field, Tag, model_validator

from settings.base import Settings, complain
from settings.choice import choose_by, mark
from settings.kinds import OneOf, Whole
from settings.lists import ListOf
from settings.names import AUTOENCODERS, PREDICTIONS
from settings.schedule import DenoiserSchedule
from settings.types import PathName, Positive, Share, Size, Switch, Words

Sizes = Annotated[list[int], ListOf(Whole(1, 2**14))]
PRESETS = tuple(f"DiT-{size}/{patch}" for size in ("S", "B", "L", "XL") for patch in (2, 4, 8))
UVIT_PRESETS = ("U-ViT-H/2",)
Preset = Annotated[str, OneOf(PRESETS)]
OF_PRESET = ("patch_size", "hidden_size", "depth", "num_heads")


class DiTShape(Settings):
    """The shape of a DiT: a preset with the rest, or all of its numbers."""

    preset: Preset | None = Field(None, description="a published size, in place of patch, width, depth and heads")
    input_size: Size = Field(description="side of the square latents")
    patch_size: Size = Field(None, description="side of a patch of the latents")
    hidden_size: Size = Field(None, description="width of a token")
    depth: Size = Field(None, description="number of blocks")
    num_heads: Size = Field(None, description="heads of the attention")
    num_classes: Size = Field(1000, description="classes of the condition")
    in_channels: Size = Field(4, description="channels of the latents")
    mlp_ratio: Positive = Field(4.0, description="width of the MLP as a multiple of the token's")
    learn_sigma: Switch = Field(True, description="whether the network predicts a variance too")
    class_dropout_prob: Share = Field(0.1, description="share of the conditions dropped in training; 0: no null class")

    @model_validator(mode="after")
    def _check_preset(self) -> "DiTShape":
        _check_patches(self)
        if self.preset is None and (self.hidden_size % self.num_heads or self.hidden_size % 4):
            raise complain(f"needs a hidden_size that 4 and num_heads={self.num_heads} divide, got {self.hidden_size}")
        return self


class UViTShape(Settings):
    """The shape of a U-ViT: a preset with the rest, or all of its numbers."""

    preset: Annotated[str, OneOf(UVIT_PRESETS)] | None = Field(None, description="a published size")
    input_size: Size = Field(description="side of the square latents")
    patch_size: Size = Field(None, description="side of a patch of the latents")
    hidden_size: Size = Field(None, description="width of a token")
    depth: Size = Field(None, description="blocks of both halves, without the middle one")
    num_heads: Size = Field(None, description="heads of the attention")
    num_classes: Size = Field(1000, description="classes of the condition")
    in_channels: Size = Field(4, description="channels of the latents")
    mlp_ratio: Positive = Field(4.0, description="width of the MLP as a multiple of the token's")
    conv: Switch = Field(False, description="whether a convolution comes last")

    @model_validator(mode="after")
    def _check_preset(self) -> "UViTShape":
        _check_patches(self)
        if self.preset is None and (self.hidden_size % self.num_heads or self.hidden_size % 2 or self.depth % 2):
            raise complain(
                f"needs an even depth and an even hidden_size that num_heads={self.num_heads} divides, got "
                f"{self.depth} and {self.hidden_size}"
            )
        return self


def _check_patches(shape: DiTShape | UViTShape) -> None:
    """Raise pydantic's error unless a shape has a preset or all of its numbers, and patches that fill the latents."""
    given = [key for key in OF_PRESET if getattr(shape, key) is not None]
    if shape.preset is None and len(given) < len(OF_PRESET):
        missing = next(key for key in OF_PRESET if key not in given)
        raise complain(f"needs a preset, or all of {', '.join(OF_PRESET)}; {missing} is missing")
    if shape.preset is not None and given:
        raise complain(f"has preset={shape.preset}, which says what {given[0]} is; leave one of them out")
    patch_size = int(shape.preset.rpartition("/")[2]) if shape.preset is not None else shape.patch_size
    if shape.input_size % patch_size:
        raise complain(f"needs an input_size that patch_size={patch_size} divides, got {shape.input_size}")


class UNetShape(Settings):
    """The shape of a latent-diffusion U-Net, in the names of its published configurations."""

    image_size: Size = Field(description="side of the square latents")
    model_channels: Size = Field(description="channels of the first level")
    channel_mult: Sizes = Field(description="channels of each level as multiples")
    num_res_blocks: Size = Field(description="residual blocks of a level")
    attention_resolutions: Sizes = Field(description="the reductions of the side that have attention")
    num_head_channels: Size = Field(description="channels of a head of the attention")
    context_dim: Size = Field(description="width of the class embedding")
    num_classes: Size = Field(description="classes of the condition")
    null_class: Switch = Field(False, description="whether the embedding has a row for no class")
    norm_num_groups: Size = Field(32, description="groups of the normalisation")
    in_channels: Size = Field(4, description="channels of the latents")
    out_channels: Size = Field(4, description="channels of the prediction")

    @model_validator(mode="after")
    def _check_channels(self) -> "UNetShape":
        for factor in self.channel_mult:
            channels = factor * self.model_channels
            for key in ("norm_num_groups", "num_head_channels"):
                if channels % getattr(self, key):
                    raise complain(f"has a level of {channels} channels, which {key}={getattr(self, key)} must divide")
        return self


class Loadable(Settings):
    """The settings of every denoiser that can be loaded."""

    name: Words = Field(description="of the denoiser, in results")
    family: Words = Field(description="dit, ldm, uvit or snnet")
    path: PathName = Field(description="file or folder of the weights")
    ema: Switch = Field(False, description="the averaged weights of a checkpoint that holds both")
    schedule: DenoiserSchedule | None = Field(
        None, description="noise schedule of its training; null: the trajectory's"
    )
    prediction: Annotated[str, OneOf(PREDICTIONS)] = Field("eps", description="eps, v, x0, or the velocity of a flow")


class DiT(Loadable):
    """A DiT that can be loaded."""

    kind_name: ClassVar[str] = "dit"
    config: DiTShape = Field(description="shape of the network")


class UNet(Loadable):
    """A U-Net of latent diffusion that can be loaded."""

    kind_name: ClassVar[str] = "ldm"
    config: UNetShape = Field(description="shape of the network")


class UViT(Loadable):
    """A U-ViT that can be loaded."""

    kind_name: ClassVar[str] = "uvit"
    config: UViTShape = Field(description="shape of the network")


class SNNetShape(Settings):
    """The shape of two DiTs that are stitched in their middle."""

    small: DiTShape = Field(description="whose first blocks it has")
    large: DiTShape = Field(description="whose last blocks it has")
    block: Annotated[int, Whole(0, 2**14)] = Field(description="last block of the small one that it has")


class SNNet(Loadable):
    """Two DiTs that are stitched in their middle."""

    kind_name: ClassVar[str] = "snnet"
    config: SNNetShape = Field(description="shape of the network")


Denoiser = Annotated[
    Annotated[DiT, Tag(mark("dit"))]
    | Annotated[UNet, Tag(mark("ldm"))]
    | Annotated[UViT, Tag(mark("uvit"))]
    | Annotated[SNNet, Tag(mark("snnet"))],
    choose_by("family", DiT, UNet, UViT, SNNet),
]


class VQShape(Settings):
    """The shape of a VQ first stage in its original layout."""

    embed_dim: Size = Field(description="width of a code")
    n_embed: Annotated[int, Whole(1, 2**24)] = Field(description="number of codes")
    z_channels: Size = Field(description="channels of the latents")
    resolution: Size = Field(description="side of the images")
    ch: Size = Field(description="channels of the first level")
    ch_mult: Sizes = Field(description="channels of each level as multiples")
    num_res_blocks: Size = Field(description="residual blocks of a level")
    attn_resolutions: Annotated[list[int], ListOf(Whole(1, 2**14), 0)] = Field(description="sides that have attention")
    in_channels: Size = Field(3, description="channels of the images")
    out_ch: Size = Field(3, description="channels of the decoded images")


class Autoencoder(Settings):
    """An autoencoder that can be loaded."""

    name: Words = Field(description="of the autoencoder, in messages")
    kind: Annotated[str, OneOf(AUTOENCODERS)] = Field(description="kl: AutoencoderKL; vq: VQModel")
    path: PathName = Field(description="folder of diffusers, or for vq a checkpoint of the original layout")
    config: VQShape | None = Field(None, description="shape, for a checkpoint")
    downsampling: Size = Field(8, description="side of an image as a multiple of its latents'")
