"""References made from images: what FID and the other metrics compare with."""

from pathlib import Path

from evaluation.metrics.extractors import load_extractor
from evaluation.metrics.features import FeatureCache, gather_features
from evaluation.metrics.reference import Reference, load_reference, make_reference
from evaluation.metrics.sources import open_source
from experiments.evaluation import CACHE
from tstitch.runs.outputs import check_output
from tstitch.runs.progress import Counter
from tstitch.runs.ranks import choose_device, joined_ranks


def make_reference_of(
    images: Path, out: Path, extractor_name: str, extractor_weights: Path, keep_features: bool, device_name: str
) -> bool:
    """Stream images through an extractor into float64 statistics; also under torchrun. True on the rank that wrote.

    Args:
        images: an `.npz` with arr_0, a run's directory, or a folder of PNGs.
        out: the `.npz` to write.
        keep_features: write what precision, recall and KID need.
    """
    check_output(out, "a reference", [images, extractor_weights])
    with joined_ranks() as ranks:
        device = choose_device(device_name, ranks.local_rank, ranks.local_world_size)
        source = open_source(images)
        extractor = load_extractor(extractor_name, extractor_weights, device)
        features = gather_features(
            source, extractor, FeatureCache(CACHE, extractor), ranks, extractor.has_spatial,
            show=Counter("images", quiet=not ranks.is_main),
        )  # fmt: skip
        if not ranks.is_main:
            return False
    facts = {"side": source.side, "source": source.path.name, "extractor_sha256": extractor.weights_sha256}
    make_reference(out, features, extractor_name, facts, keep_features)
    return True


def describe_reference(path: Path) -> list[str]:
    """Describe in lines what a reference holds."""
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
    return [str(path), *(f"  {name}: {value}" for name, value in facts.items())]


def _features(reference: Reference) -> str:
    if reference.pool is None:
        return "none; an evaluation computes them from the images"
    return f"{len(reference.pool.mu)} wide, {'kept' if reference.features is not None else 'not kept'}"
