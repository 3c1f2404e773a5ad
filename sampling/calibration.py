"""Calibrations: how far each smaller denoiser is from the large one, step by step."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tstitch.errors import UserError
from tstitch.runs.digest import file_sha256
from tstitch.runs.json_files import read_json

MAKE = "python -m scripts.analyse analysis=disagreement makes one"


def read_disagreement(path: Path, weights: Mapping[str, Path], timesteps: Sequence[int]) -> np.ndarray:
    """Read a calibration: (smaller denoisers, T), between its own timesteps by linear interpolation.

    Args:
        path: `disagreement.json` of `scripts.analyse`, or the directory that holds it.
        weights: the denoisers by name, small to large, with their files, which may be missing.
        timesteps: of the trajectory.

    Raises:
        UserError: it is no calibration, or not of these denoisers with these weights.
    """
    path = path / "disagreement.json" if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"router.calibration={path} does not exist; {MAKE}")
    content = read_json(path)
    try:
        known, curves = content["data"]["timesteps"], content["data"]["curves"]
        by_name = {curve["label"]: np.array(curve["mean"], dtype=np.float64) for curve in curves}
        axis = np.array(known, dtype=np.float64)
        is_whole = axis.ndim == 1 and len(axis) > 0 and (np.diff(axis) < 0).all()
        is_whole &= all(values.shape == axis.shape and (values >= 0).all() for values in by_name.values())
        calibrated = content.get("identity", {}).get("denoisers", {})
        checksums = {name: own["sha256"] for name, own in calibrated.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        is_whole = False
    if not is_whole:
        raise UserError(f"router.calibration={path} is no calibration; {MAKE}")
    names = list(weights)
    missing = [name for name in names[:-1] if name not in by_name]
    if missing:
        raise UserError(
            f"router.calibration={path} is of {', '.join(by_name)}, and the pair has {missing[0]}; {MAKE} for this pair"
        )
    for name, file in weights.items():
        if name in checksums and file.is_file() and checksums[name] != file_sha256(file):
            raise UserError(f"router.calibration={path} is of other weights of {name} than {file}; {MAKE} for these")
    return np.stack([np.interp(timesteps, axis[::-1], by_name[name][::-1]) for name in names[:-1]])
