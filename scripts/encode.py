"""Encode a folder of images to latents, to train denoisers on; also under torchrun.

python -m scripts.encode IMAGES OUT [--autoencoder FOLDER] [--side 256]
"""

import argparse
from pathlib import Path

from cli.arguments import Parser
from cli.command import run_parsed


def main(arguments: argparse.Namespace) -> None:
    from models.autoencoder import AutoencoderSpec
    from models.encode import encode_folder
    from models.weights.catalog import explain_missing
    from tstitch.errors import UserError
    from tstitch.runs.ranks import choose_device, joined_ranks

    spec = AutoencoderSpec("autoencoder", "kl", arguments.autoencoder, downsampling=arguments.downsampling)
    if missing := [path for path in spec.files if not path.is_file()]:
        raise UserError(explain_missing(missing))
    for name in ("side", "batch_size", "downsampling"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(arguments, name)}")
    with joined_ranks() as ranks:
        device = choose_device(arguments.device, ranks.local_rank, ranks.local_world_size)
        images, out, flips = arguments.images, arguments.out, not arguments.no_flips
        record = encode_folder(images, out, spec, arguments.side, flips, arguments.batch_size, device, ranks)
        if ranks.is_main:
            print(f"{out}: {record.num_latents} latents of {record.num_images} images in {record.num_classes} classes")


def make_parser() -> Parser:
    """Make the parser of the command line."""
    parser = Parser(prog="python -m scripts.encode", description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="a folder with a subfolder for each class, as ImageNet's train")
    parser.add_argument("out", type=Path, help="the folder of the latents; the same command continues")
    parser.add_argument("--autoencoder", type=Path, default=Path("weights/sd-vae-ft-ema"), help="folder of diffusers")
    parser.add_argument("--downsampling", type=int, default=8, help="side of an image as a multiple of its latents'")
    parser.add_argument("--side", type=int, default=256, help="of the square that is cut out of each image")
    parser.add_argument("--no-flips", action="store_true", help="do not encode each image mirrored as well")
    parser.add_argument("--batch-size", type=int, default=32, help="images at once")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    return parser


if __name__ == "__main__":
    run_parsed(make_parser(), main)
