"""An oracle that gives each image a fraction of its own, against what can be enumerated."""

import itertools

import pytest
import torch

from evaluation.metrics.trajectories import best_shares, describe_oracle, describe_spectrum, largest_within

FRACTIONS = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)


def test_no_choice_of_fractions_beats_it() -> None:
    """All 3^5 choices of a fraction for each of five images: none has more at the same or a smaller error."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.rand(2, 5, generator=generator, dtype=torch.float64)
    errors = torch.cat([torch.zeros(1, 5, dtype=torch.float64), steps.cumsum(dim=0)])
    means, reached = best_shares(FRACTIONS, errors)
    images = torch.arange(5)
    for choice in itertools.product(range(3), repeat=5):
        chosen = torch.tensor(choice)
        fraction, error = FRACTIONS[chosen].mean(), errors[chosen, images].mean()
        for mean, at in zip(means, reached, strict=True):
            assert not (fraction > mean + 1e-9 and error < at - 1e-9)


def test_equal_images_leave_nothing_to_gain() -> None:
    errors = torch.tensor([[0.0], [0.1], [0.3]], dtype=torch.float64).expand(3, 4)
    assert describe_oracle(FRACTIONS, errors, at=0.5).count("at a mean of 0.500: +0.000 of the steps") == 1


def test_images_that_differ_leave_something_to_gain() -> None:
    """Half of the images take all steps for nothing, the other half none: 0.5 in the mean, and no error."""
    errors = torch.tensor([[0.0, 0.0], [0.0, 0.2], [0.0, 0.8]], dtype=torch.float64)
    text = describe_oracle(FRACTIONS, errors, at=0.5)
    assert "leaves them 0.100 (relative)" in text
    assert "at a mean of 0.750: +0.250 of the steps" in text


def test_the_largest_fraction_within_a_tolerance() -> None:
    errors = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.3, 0.3], [0.2, 0.1, 0.4]], dtype=torch.float64)
    assert largest_within(FRACTIONS, errors, 0.2).tolist() == pytest.approx([1.0, 1.0, 0.0])


def test_none_within_a_tolerance_is_fraction_zero() -> None:
    errors = torch.tensor([[0.1, 0.3], [0.2, 0.4]], dtype=torch.float64)
    assert largest_within(torch.tensor([0.4, 0.8], dtype=torch.float64), errors, 0.1).tolist() == [0.4, 0.0]


def test_a_spectrum_of_few_steps_is_described() -> None:
    for num_steps in (1, 2, 5):
        spectra = torch.arange(num_steps + 1, dtype=torch.float64)[1:, None].expand(num_steps, 4)
        assert "over the last" in describe_spectrum(spectra, list(range(num_steps))[::-1])
