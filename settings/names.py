"""Names that settings may take. Those of packages that import PyTorch are written again here; a test compares them."""

from functools import cache
from pathlib import Path
from typing import Annotated

from settings.kinds import OneOf
from settings.lists import ListOf, OneOrEach

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

PRECISIONS = ("float32", "tf32", "bf16", "fp16")
COMPILE_MODES = ("none", "default", "max")
RESIDENCIES = ("both", "swap", "staged")
LABELS = ("random", "balanced")
DEVICES = ("auto", "cpu", "cuda")
RULES = ("steps", "timestep", "timestep_strict")
SMALL_TO_LARGE = "small_to_large"
ORDERS = (SMALL_TO_LARGE, "large_to_small", "interleave", "decreasing", "random", "large_ends", "small_ends")
ALLOCATION = "allocation"  # the router whose steps are known before the run
DIRECTIONS = (SMALL_TO_LARGE, "large_to_small")
ML_EM_DRAWS = ("bernoulli", "systematic")
ML_EM_PROBABILITIES = ("fixed", "geometric", "optimal")
MULTISTEP = ("plms", "pndm", "dpmpp_2m", "unipc")
GRIDS = ("dit_linspace", "ddim_stride", "ldm_uniform")
HISTORIES = ("keep", "reset")
SCHEDULES = ("linear", "scaled_linear", "cosine")
PREDICTIONS = ("eps", "v", "flow", "x0")
MATCHES = ("snr", "index")
AUTOENCODERS = ("kl", "vq")
ANALYSES = ("similarity", "spectrum", "error", "disagreement", "oracle", "schedules")
WANDB_MODES = ("disabled", "offline", "online")
CLIP_SCORE = "clip_score"
METRICS = (
    "fid", "sfid", "inception_score", "inception_score_ten_splits", "precision", "recall", "kid", "fd_dinov2",
    CLIP_SCORE,
)  # fmt: skip
EXTRACTORS = ("inception", "digits", "fashion", "inception-v3-compat", "dinov2")
DATA_SETS = ("digits", "fashion")
STITCH_WORDS = ("fraction", "fractions", "counts", "denoiser_per_step", "timestep_boundaries", "log_snr_boundaries")


@cache
def files_of(group: str) -> tuple[str, ...]:
    """List the names in a folder of `configs`, in order."""
    return tuple(sorted(path.stem for path in (CONFIGS / group).glob("*.yaml")))


Precision = Annotated[str, OneOf(PRECISIONS)]
ANY_PRECISION = OneOf((*PRECISIONS, "auto"))
Precisions = Annotated[str | list[str], OneOrEach(ANY_PRECISION)]
CompileMode = Annotated[str, OneOf(COMPILE_MODES)]
Device = Annotated[str, OneOf(DEVICES)]
SamplerName = Annotated[str, OneOf(files_of("sampler"))]
OURS = ("mixtures",)  # experiments that are none of the paper's
OF_PAPER = tuple(name for name in files_of("experiment") if name not in OURS)
PaperName = Annotated[str, OneOf((*OF_PAPER, *files_of("prompts")))]
ExperimentName = Annotated[str, OneOf(OF_PAPER)]
Order = Annotated[str, OneOf(ORDERS)]
Rule = Annotated[str, OneOf(RULES)]
Extractor = Annotated[str, OneOf(EXTRACTORS)]
Metrics = Annotated[list[str], ListOf(OneOf(METRICS), is_distinct=True)]
