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
        value = condition.float().view(-1, 1, 1, 1).expand_as(latents)
        return Prediction(value, value + 10)


LATENTS, T, Y = torch.zeros(2, 4, 2, 2), torch.zeros(2, dtype=torch.long), torch.tensor([3, 5])


@pytest.mark.parametrize(("channels", "guided"), [(3, 3), (None, 4), (1, 1)])
def test_guides_the_leading_channels_only(channels: int | None, guided: int) -> None:
    denoiser = LabelledDenoiser()
    result = GuidedDenoiser(denoiser, 1.5, channels, lambda y: torch.ones_like(y))(LATENTS, T, Y)
    assert denoiser.batch_sizes == [4]
    expected = torch.tensor([1 + 1.5 * (3 - 1), 1 + 1.5 * (5 - 1)])
    assert torch.equal(result.eps[:, :guided], expected.view(2, 1, 1, 1).expand(2, guided, 2, 2))
    assert torch.equal(result.eps[:, guided:], Y.float().view(2, 1, 1, 1).expand(2, 4 - guided, 2, 2))
    assert torch.equal(result.variance[:, 0, 0, 0], Y + 10.0)


def test_scale_one_costs_one_evaluation() -> None:
    denoiser = LabelledDenoiser()
    result = GuidedDenoiser(denoiser, 1, 3, lambda y: torch.ones_like(y))(LATENTS, T, Y)
    assert denoiser.batch_sizes == [2]
    assert torch.equal(result.eps[:, 0, 0, 0], Y.float())


def test_the_condition_is_made_once_for_all_steps() -> None:
    made = []
    guided = GuidedDenoiser(LabelledDenoiser(), 1.5, 3, lambda y: made.append(y) or torch.ones_like(y))
    other = torch.tensor([7, 8])
    for condition, expected in ((Y, Y), (Y, Y), (other, other), (Y, Y)):
        assert torch.equal(guided(LATENTS, T, condition).eps[:, 3, 0, 0], expected.float())
    assert len(made) == 3


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
