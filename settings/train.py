"""The settings of `scripts.train`: a recipe of one of five kinds."""

from typing import Annotated, ClassVar

from pydantic import Field, Tag, model_validator

from settings.base import Settings, complain, refuse
from settings.choice import choose_by, mark
from settings.kinds import Number, OneOf, Whole
from settings.lists import ListOf
from settings.names import DATA_SETS, Device
from settings.networks import Denoiser, DiT
from settings.schedule import OfTrajectory, Schedule
from settings.types import BatchSize, Count, Name, NotNegative, PathName, Positive, Share, Size, Switch, Words

TRAINED = ("none", "layer", "all")
DOWN_BLOCKS = ("DownEncoderBlock2D", "AttnDownEncoderBlock2D")
Decay = Annotated[float, Number(0, 0.999999)]
UP_BLOCKS = ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")
# The generator of an iteration is seeded with seed * 1,000,003 + iteration, which must fit.
TrainingSeed = Annotated[int, Whole(0, 2**43)]


class Optimizer(Settings):
    """Learning rates; without `muon_lr` AdamW trains every parameter."""

    adamw_lr: Positive = Field(description="learning rate of AdamW")
    muon_lr: Positive | None = Field(None, description="learning rate of Muon, on the hidden matrices")
    weight_decay: NotNegative = Field(0.0, description="of both")
    is_constant: Switch = Field(False, description="whether the rates stay as they are, in place of a cosine")
    warmup_iterations: Annotated[int, Whole(0, 10**9)] = Field(100, description="of the linear warm-up")
    beta1: Decay = Field(0.9, description="of AdamW: decay of its average of gradients")
    beta2: Decay = Field(0.99, description="of AdamW: decay of its average of squared gradients")
    clip_norm: Positive | None = Field(1.0, description="largest norm of the gradients; null: any")


class Trainer(Settings):
    """The loop of a training."""

    iterations: Count = Field(description="of the training")
    batch_size: BatchSize = Field(description="images of an iteration")
    seed: TrainingSeed = Field(description="of the network, the batches and the noise")
    bf16: Switch = Field(description="whether matrix products run in bf16")
    ema_decay: Share = Field(description="of the moving average of the weights")
    ema_warmup: Switch = Field(True, description="whether the average forgets the first weights soon, as random ones")
    log_every: Count = Field(description="iterations from line to line of the log")
    checkpoint_every: Count = Field(description="iterations from checkpoint to checkpoint")


class Recipe(Settings):
    """The settings of every recipe."""

    kind: Words = Field(description="denoiser, snnet, autoencoder, decoder or classifier")
    name: Name = Field(description="of the recipe")
    optimizer: Optimizer = Field(description="learning rates")
    trainer: Trainer = Field(description="the loop")


class DenoiserRecipe(Recipe):
    """A DiT or a U-Net on the latents of the shipped autoencoder."""

    kind_name: ClassVar[str] = "denoiser"
    denoiser: Denoiser = Field(description="the network")
    snr_gamma: Positive | None = Field(description="cap of the min-SNR weight; null: all timesteps alike")
    high_noise_weight: NotNegative = Field(description="how much more the noisy timesteps weigh")
    class_dropout_prob: Share = Field(description="share of the conditions that are dropped")
    variational_weight: NotNegative = Field(description="of the variational bound, which learns the variance, in nats")
    begin_with: PathName | None = Field(description="weights to train on from: any that can be loaded; null: none")
    timesteps: Annotated[list[int], ListOf(Whole(0, 10**6))] | None = Field(
        description="[first, end): the timesteps that are trained, end not among them; null: all"
    )

    @model_validator(mode="after")
    def _check_schedule(self) -> "DenoiserRecipe":
        _check_trains(self.denoiser)
        _check_timesteps(self.timesteps, self.denoiser.schedule)
        return self


def _check_trains(denoiser: Denoiser) -> None:
    if not isinstance(denoiser.schedule, OfTrajectory) or denoiser.prediction != "eps":
        known = ", ".join(each.kind_name for each in OfTrajectory)
        raise complain(f"trains denoisers that predict eps and state a schedule of kind {known}")


def _check_timesteps(bounds: list[int] | None, schedule: Schedule) -> None:
    num = schedule.num_train_timesteps
    if bounds is not None and not (len(bounds) == 2 and bounds[0] < bounds[1] <= num):
        raise complain(f"needs timesteps of the form [first, end] with first < end <= {num}, got {bounds}")


class SNNetRecipe(Recipe):
    """Two DiTs of the zoo stitched in their middle."""

    kind_name: ClassVar[str] = "snnet"
    small: Denoiser = Field(description="whose first blocks are taken")
    large: Denoiser = Field(description="whose last blocks are taken")
    block: Annotated[int, Whole(0, 2**14)] = Field(description="last block of the small one that is taken")
    trained: Annotated[str, OneOf(TRAINED)] = Field(
        description="none: the layer between them is fitted by least squares; layer: and trained; all: with the blocks"
    )
    num_features: BatchSize = Field(description="images whose tokens the layer is fitted to")
    snr_gamma: Positive | None = Field(description="cap of the min-SNR weight; null: all timesteps alike")
    high_noise_weight: NotNegative = Field(description="how much more the noisy timesteps weigh")
    class_dropout_prob: Share = Field(description="share of the conditions that are dropped")
    variational_weight: NotNegative = Field(description="of the variational bound, which learns the variance, in nats")
    timesteps: Annotated[list[int], ListOf(Whole(0, 10**6))] | None = Field(
        description="[first, end): the timesteps that are trained; null: all"
    )

    @model_validator(mode="after")
    def _check_shapes(self) -> "SNNetRecipe":
        are_dits = isinstance(self.small, DiT) and isinstance(self.large, DiT)
        if not are_dits or self.small.schedule != self.large.schedule:
            raise complain("needs two DiTs of one noise schedule")
        _check_trains(self.large)
        _check_timesteps(self.timesteps, self.large.schedule)
        return self


class AutoencoderShape(Settings):
    """The shape of an AutoencoderKL, in diffusers' names."""

    in_channels: Size = Field(description="channels of the images")
    out_channels: Size = Field(description="channels of the decoded images")
    latent_channels: Size = Field(description="channels of the latents")
    block_out_channels: Annotated[list[int], ListOf(Whole(1, 2**14))] = Field(description="channels of each level")
    down_block_types: Annotated[list[str], ListOf(OneOf(DOWN_BLOCKS))] = Field(description="blocks of the encoder")
    up_block_types: Annotated[list[str], ListOf(OneOf(UP_BLOCKS))] = Field(description="blocks of the decoder")
    layers_per_block: Size = Field(description="layers of a block")
    norm_num_groups: Size = Field(description="groups of the normalisation")
    mid_block_add_attention: Switch = Field(description="whether the middle has attention")


class AutoencoderRecipe(Recipe):
    """An autoencoder of the data set."""

    kind_name: ClassVar[str] = "autoencoder"
    kl_weight: NotNegative = Field(description="weight of the KL term")
    perceptual_weight: NotNegative = Field(description="weight of the distance of a classifier's maps; 0: none")
    perceptual_network: PathName = Field(description="weights of that classifier, of the digits")
    autoencoder: AutoencoderShape = Field(description="the network")


class DecoderRecipe(Recipe):
    """The decoder of the autoencoder, trained on against a discriminator."""

    kind_name: ClassVar[str] = "decoder"
    perceptual_weight: NotNegative = Field(description="weight of the distance of a classifier's maps")
    perceptual_network: PathName = Field(description="weights of that classifier, of the digits")
    adversarial_weight: NotNegative = Field(description="weight of what the discriminator says")


class ClassifierRecipe(Recipe):
    """The classifier that scores the data set."""

    kind_name: ClassVar[str] = "classifier"


AnyRecipe = Annotated[
    Annotated[DenoiserRecipe, Tag(mark("denoiser"))]
    | Annotated[SNNetRecipe, Tag(mark("snnet"))]
    | Annotated[AutoencoderRecipe, Tag(mark("autoencoder"))]
    | Annotated[DecoderRecipe, Tag(mark("decoder"))]
    | Annotated[ClassifierRecipe, Tag(mark("classifier"))],
    choose_by("kind", DenoiserRecipe, SNNetRecipe, AutoencoderRecipe, DecoderRecipe, ClassifierRecipe),
]


class Iterations(Settings):
    """How long each network of a zoo is trained on a data set."""

    classifier: Count = Field(description="of the classifier")
    autoencoder: Count = Field(description="of the autoencoder")
    decoder: Count = Field(description="of its decoder, against a discriminator")
    dit_s: Count = Field(description="of DiT-S")
    dit_b: Count = Field(description="of DiT-B")
    dit_xl: Count = Field(description="of DiT-XL")
    unet_s: Count = Field(description="of the small U-Net")
    unet: Count = Field(description="of the U-Net")


class AutoencoderChoices(Settings):
    """The settings of an autoencoder's recipe that depend on the data set."""

    channels: Annotated[list[int], ListOf(Whole(1, 2**14))] = Field(description="channels of each level")
    batch_size: BatchSize = Field(description="images of an iteration")
    perceptual_weight: NotNegative = Field(description="weight of the distance of a classifier's maps; 0: none")


class DataSet(Settings):
    """The images that are trained on."""

    name: Annotated[str, OneOf((*DATA_SETS, "latents"))] = Field(description="of the data set, and of its zoo")
    folder: PathName | None = Field(description="the folder of its files; the digits come with a package")
    autoencoder: AutoencoderChoices | None = Field(None, description="how its autoencoder is trained")
    iterations: Iterations | None = Field(None, description="the length of each network's training")


class TrainSettings(Settings):
    """The settings of `scripts.train`."""

    recipe: AnyRecipe = Field(description="what is trained and how")
    images: DataSet = Field(description="what it is trained on")
    device: Device = Field(description="auto, cpu or cuda; auto takes a GPU where there is one")
    zoo: PathName = Field(description="where the data set's autoencoder, classifier and denoisers are")
    weights: PathName = Field(description="where the finished weights of a denoiser and their card go")
    out: PathName | None = Field(description="where checkpoints and the log go; null: runs/train/<recipe>")

    @model_validator(mode="after")
    def _check_latents(self) -> "TrainSettings":
        if self.images.name == "latents" and self.recipe.kind != "denoiser":
            raise refuse(f"images=latents trains denoisers, recipe={self.recipe.name} is a {self.recipe.kind}")
        return self
