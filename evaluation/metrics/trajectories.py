"""Why stitching works, in numbers: how alike models are along a trajectory, what each step adds, what a switch costs.

Latents are float32 tensors (N, C, H, W); a trajectory stacks them by step, (T, N, C, H, W).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NEARLY_ONE = 0.99


@dataclass(frozen=True)
class Curve:
    """A value by step or by fraction: the mean over images and their standard deviation."""

    label: str
    mean: list[float]
    std: list[float]


def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between two sets of latents, image by image: (..., N, C, H, W) to (..., N)."""
    return torch.nn.functional.cosine_similarity(a.flatten(-3), b.flatten(-3), dim=-1)


def relative_error(latents: Tensor, target: Tensor) -> Tensor:
    """`|latents - target| / |target|` of each image: (..., N, C, H, W) to (..., N)."""
    return (latents - target).flatten(-3).norm(dim=-1) / target.flatten(-3).norm(dim=-1)


def over_images(label: str, values: Tensor) -> Curve:
    """Mean and standard deviation over the last axis, (K, N)."""
    return Curve(label, values.mean(-1).tolist(), values.std(-1).tolist())


def log_spectrum(latents: Tensor) -> Tensor:
    """Log amplitude by spatial frequency (figure 11): `log(|FFT| + 1e-6)`, a mean over images and channels.

    Returns:
        From the constant to the highest frequency along the diagonal of the half spectrum: (H // 2 + 1,).
    """
    amplitude = torch.fft.fft2(latents.double()).abs().add(1e-6).log().mean(dim=(0, 1))
    return amplitude.diagonal()[: latents.shape[-1] // 2 + 1].float()


def describe_similarity(curve: Curve, timesteps: Sequence[int]) -> str:
    """Describe how long two models stay alike, and where they end."""
    alike = next((k for k, mean in enumerate(curve.mean) if mean < NEARLY_ONE), len(curve.mean))
    start = f"above {NEARLY_ONE} for the first {alike} of {len(timesteps)} steps"
    if 0 < alike < len(timesteps):
        start += f" (down to t = {timesteps[alike - 1]})"
    lowest = min(range(len(curve.mean)), key=curve.mean.__getitem__)
    text = f"{curve.label}: cosine similarity {start}, {curve.mean[-1]:.3f} ± {curve.std[-1]:.3f} at the end"
    if curve.mean[lowest] < curve.mean[-1] - 0.01:
        text += f", lowest at t = {timesteps[lowest]} ({curve.mean[lowest]:.3f})"
    return f"{text}."


def describe_disagreement(curve: Curve, large: str) -> str:
    """Describe how far a model's predictions lie from the large one's at the noisy, the middle and the last steps."""
    num_steps = len(curve.mean)
    third = max(1, num_steps // 3)
    parts = [curve.mean[:third], curve.mean[third : num_steps - third] or curve.mean, curve.mean[num_steps - third :]]
    noisy, middle, last = (sum(part) / len(part) for part in parts)
    return (
        f"{curve.label} predicts {noisy:.3f} (relative to the length) away from {large} on the noisiest third of "
        f"{large}'s trajectory, {middle:.3f} in the middle, {last:.3f} on the last third."
    )


def describe_spectrum(spectra: Tensor, timesteps: Sequence[int]) -> str:
    """Which frequencies move in the first half of the steps, and which in the last fifth.

    Args:
        spectra: (T, F), after each step.
    """
    half, last = len(timesteps) // 2, min(max(1, len(timesteps) // 5), len(timesteps) - 1)
    split = (spectra.shape[1] + 1) // 2
    change = [
        [float((spectra[b] - spectra[a])[part].mean()) for part in (slice(0, split), slice(split, None))]
        for a, b in ((0, half), (-1 - last, -1))
    ]
    return (
        f"Log amplitude changes by {change[0][0]:+.2f} in the lower half of the frequencies and {change[0][1]:+.2f} in "
        f"the upper half from t = {timesteps[0]} to t = {timesteps[half]}, and by {change[1][0]:+.2f} and "
        f"{change[1][1]:+.2f} over the last {last} steps (from t = {timesteps[-1 - last]})."
    )


def best_shares(fractions: Tensor, errors: Tensor, num_weights: int = 200) -> tuple[list[float], list[float]]:
    """Give each image the fraction that is best for it, as an oracle would: mean fraction and mean error, both (W,).

    For each weight w every image takes the fraction that is best in `w * fraction - error`: no choice of one fraction
    for each image has a larger mean fraction at the same mean error.

    Args:
        fractions: (F,), ascending.
        errors: (F, N), of each image at each fraction.
    """
    slopes = (errors[1:] - errors[:-1]).abs() / (fractions[1:] - fractions[:-1])[:, None]
    weights = torch.logspace(*(slopes.clamp(min=1e-9).log10().aminmax()), num_weights, dtype=torch.float64)
    chosen = (weights[:, None, None] * fractions[None, :, None] - errors[None]).argmax(dim=1)  # (W, N)
    images = torch.arange(errors.shape[1])
    return fractions[chosen].mean(dim=1).tolist(), errors[chosen, images].mean(dim=1).tolist()


def largest_within(fractions: Tensor, errors: Tensor, tolerance: float) -> Tensor:
    """The largest fraction of each image (N,) whose error is at most `tolerance`; errors (F, N), 0 at fraction 0."""
    within = errors <= tolerance
    return torch.where(within, fractions[:, None], 0.0).amax(dim=0)


def describe_oracle(fractions: Tensor, errors: Tensor, at: float) -> str:
    """Describe how much more an oracle gives to the small model than one fraction for all, at the same mean error."""
    one = int((fractions - at).abs().argmin())
    error, fraction = float(errors[one].mean()), float(fractions[one])
    means, reached = best_shares(fractions, errors)
    ideal = float(np.interp(error, reached, means))
    own = largest_within(fractions, errors, error)
    return (
        f"Fraction {fraction:g} for all images leaves them {error:.3f} (relative) from the large model's. An oracle "
        f"that gives each its own fraction has the same mean error at a mean of {ideal:.3f}: {ideal - fraction:+.3f} "
        f"of the steps. The largest fraction within that error is {float(own.mean()):.2f} ± {float(own.std()):.2f}."
    )


def describe_error(curve: Curve, fractions: Sequence[float]) -> str:
    """Describe how the distance to the large model's image grows with the fraction."""
    worst = curve.mean[-1]
    cheap = [fraction for fraction, mean in zip(fractions, curve.mean, strict=True) if mean <= 0.25 * worst]
    return (
        f"The stitched latents end {curve.mean[-1]:.2f} ± {curve.std[-1]:.2f} (relative to the large model's) away at "
        f"fraction {fractions[-1]:g}; up to fraction {max(cheap, default=0):g} they stay within a quarter of that."
    )
