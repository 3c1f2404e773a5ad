import pytest
import torch

from tstitch.denoiser import Prediction
from tstitch.errors import UserError
from tstitch.guidance import GuidedDenoiser, parse_channels


class LabelledDenoiser:
    """Predicts the label itself, and the label plus ten as variance; counts its calls."""

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def __call__(self, latents, timestep, condition) -> Prediction:
        self.batch_sizes.append(len(latents))
        assert timestep.tolist() == [7] * len(latents)
        value = condition.float().view(-1, 1, 1, 1).expand_as(latents)
        return Prediction(value, value + 10)


LATENTS, T, Y = torch.zeros(2, 4, 2, 2), 7, torch.tensor([3, 5])


@pytest.mark.parametrize(("channels", "guided"), [(3, 3), (None, 4), (1, 1)])
def test_guides_the_leading_channels_only(channels: int | None, guided: int) -> None:
    denoiser = LabelledDenoiser()
    result = GuidedDenoiser(denoiser, 1.5, channels, torch.ones_like).prepare(Y)(LATENTS, T)
    assert denoiser.batch_sizes == [4]
    expected = torch.tensor([1 + 1.5 * (3 - 1), 1 + 1.5 * (5 - 1)])
    assert torch.equal(result.eps[:, :guided], expected.view(2, 1, 1, 1).expand(2, guided, 2, 2))
    assert torch.equal(result.eps[:, guided:], Y.float().view(2, 1, 1, 1).expand(2, 4 - guided, 2, 2))
    assert torch.equal(result.variance[:, 0, 0, 0], Y + 10.0)


def test_scale_one_costs_one_evaluation() -> None:
    denoiser = LabelledDenoiser()
    result = GuidedDenoiser(denoiser, 1, 3, torch.ones_like).prepare(Y)(LATENTS, T)
    assert denoiser.batch_sizes == [2]
    assert torch.equal(result.eps[:, 0, 0, 0], Y.float())


@pytest.mark.parametrize("scale", [1, 1.5])
def test_rows_have_their_own_conditions_which_are_drawn_once_for_the_batch(scale: float) -> None:
    draws = []
    guided = GuidedDenoiser(LabelledDenoiser(), scale, 3, lambda y: draws.append(y) or torch.tensor([7, 9]))
    conditioned = guided.prepare(Y)
    whole, alone = conditioned(LATENTS, T), conditioned(LATENTS[:1], T, rows=torch.tensor([1]))
    assert torch.equal(alone.eps, whole.eps[1:])
    assert torch.equal(alone.variance, whole.variance[1:])
    assert len(draws) == (scale != 1)


@pytest.mark.parametrize("scale", [0.9, -1.0, float("nan"), float("inf"), "big"])
def test_bad_scale_is_named(scale) -> None:
    with pytest.raises(UserError, match="guidance scale must be 1"):
        GuidedDenoiser(LabelledDenoiser(), scale, 3, torch.ones_like)


def test_channels_setting() -> None:
    assert parse_channels("all", 4) is None
    assert parse_channels(3, 4) == 3
    for bad in (0, 5, "three"):
        with pytest.raises(UserError, match=r"'all' or 1\.\.4"):
            parse_channels(bad, 4)
