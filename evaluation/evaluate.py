"""A run's shards to metrics with their protocol."""

from pathlib import Path

import numpy as np

from evaluation.extractors import Extractor
from evaluation.metrics import frechet_distance, inception_score
from evaluation.statistics import Statistics, StatisticsAccumulator
from tstitch.digest import file_sha256
from tstitch.images import UINT8_RULE
from tstitch.run import Run, read_json
from tstitch.shards import read_shards

INCEPTION_SCORE_SPLIT = 5000


def evaluate_run(run: Run, extractor: Extractor, reference: Statistics, reference_path: Path) -> dict:
    """FID and Inception Score of a finished run.

    Returns:
        `metrics` by names that carry n (`fid5k`) and `inception_score`; `protocol`; `run_id`.
    """
    accumulator, logits = StatisticsAccumulator(), []
    for shard in read_shards(run.shards, run.blocks, run.id):
        features, shard_logits = extractor(shard.images)
        accumulator.update(features)
        logits.append(shard_logits)
    statistics = accumulator.finish()
    return {
        "run_id": run.id,
        "metrics": {
            f"fid{count_name(statistics.num)}": frechet_distance(statistics, reference),
            "inception_score": inception_score(np.concatenate(logits), INCEPTION_SCORE_SPLIT),
        },
        "protocol": protocol(run, extractor, reference, reference_path),
    }


def protocol(run: Run, extractor: Extractor, reference: Statistics, reference_path: Path) -> dict:
    """What was measured: two results compare only where these agree."""
    facts = read_json(run.directory / "run.json")
    return {
        **run.identity,
        "num_steps": facts["num_steps"],
        "uint8_rule": UINT8_RULE,
        "extractor": extractor.name,
        "extractor_sha256": extractor.weights_sha256,
        "inception_score_split": INCEPTION_SCORE_SPLIT,
        "reference": reference_path.name,
        "reference_sha256": file_sha256(reference_path),
        "reference_num_images": reference.num,
        "device_name": facts["device_name"],
        "versions": facts["versions"],
    }


def count_name(num_images: int) -> str:
    """`50k` for 50,000, `1500` for 1,500: what a metric's name carries."""
    return f"{num_images // 1000}k" if num_images % 1000 == 0 else str(num_images)
