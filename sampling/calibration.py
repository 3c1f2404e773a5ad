"""Calibrations: how far each smaller denoiser is from the large one, step by step."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tstitch.errors import UserError
from tstitch.runs.json_files import read_json

MAKE = "python -m scripts.analyse analysis=disagreement makes one"


def read_disagreement(path: Path, names: Sequence[str], timesteps: Sequence[int]) -> np.ndarray:
    """Read a calibration: (smaller denoisers, T), between its own timesteps by linear interpolation.

    Args:
        path: `disagreement.json` of `scripts.analyse`, or the directory that holds it.
        names: of the denoisers, small to large.
        timesteps: of the trajectory.

    Raises:
        UserError: it is no calibration, or not of these denoisers.
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
    except (KeyError, TypeError, ValueError, AttributeError):
        is_whole = False
    if not is_whole:
        raise UserError(f"router.calibration={path} is no calibration; {MAKE}")
    missing = [name for name in names[:-1] if name not in by_name]
    if missing:
        raise UserError(
            f"router.calibration={path} is of {', '.join(by_name)}, and the pair has {missing[0]}; {MAKE} for this pair"
        )
    return np.stack([np.interp(timesteps, axis[::-1], by_name[name][::-1]) for name in names[:-1]])
