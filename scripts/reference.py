"""Make or show a reference: what FID and the other metrics compare with.

python -m scripts.reference make IMAGES OUT.npz --extractor-weights FILE
python -m scripts.reference show FILE.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.evaluation import ALIASES, CACHE
from scripts.cli import guarded
from tstitch.runs.outputs import check_output
from tstitch.runs.ranks import choose_device, joined_ranks

if TYPE_CHECKING:
    from evaluation.metrics.reference import Reference


def main(arguments: argparse.Namespace) -> None:
    if arguments.action == "show":
        show(arguments.file)
    else:
        make(arguments)


def make(arguments: argparse.Namespace) -> None:
    """Stream images through an extractor into float64 statistics; also under torchrun."""
    from evaluation.metrics.extractors import load_extractor
    from evaluation.metrics.features import FeatureCache, gather_features
    from evaluation.metrics.reference import make_reference
    from evaluation.metrics.sources import open_source
    from tstitch.runs.progress import Counter

    check_output(arguments.out, "a reference", [arguments.images, arguments.extractor_weights])
    name = ALIASES.get(arguments.extractor, arguments.extractor)
    with joined_ranks() as ranks:
        device = choose_device(arguments.device, ranks.local_rank, ranks.local_world_size)
        source = open_source(arguments.images)
        extractor = load_extractor(name, arguments.extractor_weights, device)
        features = gather_features(
            source, extractor, FeatureCache(CACHE, extractor), ranks, extractor.has_spatial,
            show=Counter("images", quiet=not ranks.is_main),
        )  # fmt: skip
        if not ranks.is_main:
            return
    facts = {"side": source.side, "source": source.path.name, "extractor_sha256": extractor.weights_sha256}
    make_reference(arguments.out, features, name, facts, keep_features=not arguments.no_features)
    show(arguments.out)


def show(path: Path) -> None:
    """What a reference holds."""
    from evaluation.metrics.reference import load_reference

    reference = load_reference(path)
    facts = {
        "images": reference.num or "unknown",
        "pixels": reference.side or "unknown",
        "extractor": reference.extractor or "unknown",
        "features": _features(reference),
        "spatial statistics": "yes" if reference.spatial is not None else "no",
        "images in the file": "yes" if reference.has_images else "no",
        "sha256": reference.sha256,
    }
    print(path)
    for name, value in facts.items():
        print(f"  {name}: {value}")


def _features(reference: Reference) -> str:
    if reference.pool is None:
        return "none; an evaluation computes them from the images"
    return f"{len(reference.pool.mu)} wide, {'kept' if reference.features is not None else 'not kept'}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.reference", description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    making = actions.add_parser("make", help="statistics of images")
    making.add_argument("images", type=Path, help="an .npz with arr_0, a run's directory, or a folder of PNGs")
    making.add_argument("out", type=Path, help="the .npz to write")
    making.add_argument("--extractor", default="inception", help="inception, dinov2 or digits")
    making.add_argument("--extractor-weights", type=Path, required=True, help="a file; nothing is downloaded")
    making.add_argument("--no-features", action="store_true", help="leave out what precision, recall and KID need")
    making.add_argument("--device", default="auto", help="auto, cpu or cuda")
    showing = actions.add_parser("show", help="what a reference holds")
    showing.add_argument("file", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    guarded(main)(parse())
