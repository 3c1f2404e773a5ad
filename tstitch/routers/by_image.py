"""Predictions put together from several models, image by image."""

from collections.abc import Callable

import torch
from torch import Tensor

from tstitch.denoiser import Prediction
from tstitch.router import Ask


def predict_by_image(ask: Ask, choice: Tensor, latents: Tensor, timestep: int) -> Prediction:
    """Predict each image with the model of its choice; a model is asked for its own images alone.

    The images of a model are a smaller batch, in which matrix products may round otherwise than in the whole one, by
    about 1e-6: an image's result then depends on which images share its batch, but never on ranks.

    Args:
        choice: (N,) int64, on the host.
        latents: (N, C, H, W) float32.
    """
    models = choice.unique().tolist()
    if len(models) == 1:
        return ask(models[0], latents, timestep)
    parts = []
    for model in models:
        rows = (choice == model).nonzero().flatten().to(latents.device)
        parts.append((rows, ask(model, latents[rows], timestep, rows)))
    return scatter(latents, parts)


def scatter(latents: Tensor, parts: list[tuple[Tensor, Prediction]]) -> Prediction:
    """Put predictions of some images each, at the positions `rows` (M,), into one of all (N, C, H, W).

    The variance is None where one of the parts has none.
    """
    eps = torch.empty_like(latents)
    variance = None if any(part.variance is None for _, part in parts) else torch.empty_like(latents)
    for rows, part in parts:
        eps[rows] = part.eps
        if variance is not None:
            variance[rows] = part.variance
    return Prediction(eps, variance)


def combine(predictions: list[Prediction], put_together: Callable[..., Tensor]) -> Prediction:
    """Put the eps of several predictions of the same images together; the variance is that of the last one."""
    return Prediction(put_together(*(each.eps for each in predictions)), predictions[-1].variance)


def norm(values: Tensor) -> Tensor:
    """The Euclidean norm of each image's values (N, ...), as (N,)."""
    return values.flatten(1).norm(dim=1)


def relative_difference(prediction: Tensor, wanted: Tensor) -> Tensor:
    """`|p - w| / |w|` for each image of (N, ...), as (N,); TRACK's disagreement (arXiv 2609.30096)."""
    return norm(prediction - wanted) / norm(wanted).clamp(min=1e-12)
