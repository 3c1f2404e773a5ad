"""T-Stitch: a small denoiser takes the first sampling steps, a large one the rest (arXiv 2402.14167).

`from tstitch import stitch, unstitch` is what a user of diffusers needs; nothing else is imported until then.
"""

__all__ = ["calibrate", "stitch", "unstitch"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'tstitch' has no attribute {name!r}")
    from tstitch import calibration
    from tstitch.dropin import stitch

    return getattr(calibration if name == "calibrate" else stitch, name)
