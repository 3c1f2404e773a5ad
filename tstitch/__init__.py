"""T-Stitch: a small denoiser takes the first sampling steps, a large one the rest (arXiv 2402.14167).

`from tstitch import stitch, unstitch` is what a user of diffusers needs; nothing else is imported until then.
"""

from importlib import import_module

PLACES = {
    "LatentChange": "tstitch.adaptive", "calibrate": "tstitch.calibration", "expect_time": "tstitch.expected_time",
    "fit_budget": "tstitch.budget", "stitch": "tstitch.dropin.stitch", "unstitch": "tstitch.dropin.stitch",
}  # fmt: skip
__all__ = ["LatentChange", "calibrate", "expect_time", "fit_budget", "stitch", "unstitch"]


def __getattr__(name: str) -> object:
    if name not in PLACES:
        raise AttributeError(f"module 'tstitch' has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)
