"""What tests of runs from captions share: weights on disk, and the arguments that name them."""

from pathlib import Path

from tests.pipelines.families import FAMILIES, unet

CAPTIONS = ["a cat", "a hat", "a red hat, a cat", "cats", "two hats", "a dog", "dogs"]


def save_weights(folder: Path) -> Path:
    """A large pipeline, a small UNet, another large pipeline with attention at full size, and captions."""
    FAMILIES["sd"].build().save_pretrained(folder / "large")
    unet("small").save_pretrained(folder / "small")
    pipe = FAMILIES["sd"].build()
    blocks = ("CrossAttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
    pipe.unet = unet("large", down_block_types=blocks[0], up_block_types=blocks[1])
    pipe.save_pretrained(folder / "top")
    (folder / "captions.txt").write_text("\n".join(CAPTIONS) + "\n")
    return folder


def arguments(weights: Path, out: Path, *more: str) -> list[str]:
    return [
        f"large={weights / 'large'}", f"small=[{weights / 'small'}]", f"captions={weights / 'captions.txt'}",
        f"out={out}", "call.height=16", "call.width=16", "call.num_inference_steps=5", "batch_size=2",
        "precision=float32", "stitch.fraction=0.4", *more,
    ]  # fmt: skip
