"""Adaptive rules and the held correction, step by step against their formulas."""

import itertools
import math

import pytest
import torch

from tests.tstitch.routers.gaussians import LARGE, SHAPE, SMALL, Gaussian, run, steps_of
from tstitch.denoiser import Prediction
from tstitch.noise import ImageNoise
from tstitch.router import AllocationRouter, Ledger
from tstitch.routers.held import HeldCorrectionRouter
from tstitch.routers.hybrid import HybridRouter
from tstitch.routers.latent_change import LatentChangeRouter
from tstitch.routers.mdd import MDDRouter
from tstitch.routers.probe import ProbeRouter
from tstitch.sample import StepResult

N = 12


def along(allocation: tuple[int, ...], num_images: int = 5) -> list[torch.Tensor]:
    """Latents before every step and after the last."""
    from tests.networks import InMemory
    from tests.tstitch.routers.gaussians import SCHEDULE
    from tstitch.sample import sample
    from tstitch.solvers.make import solver_factory

    noise = ImageNoise(7, range(num_images))
    seen = [noise.latents(SHAPE)]

    def keep(done: StepResult) -> None:
        seen.append(done.latents)

    make = solver_factory("ddim", SCHEDULE, [step.timestep for step in steps_of(N)])
    networks = InMemory([SMALL, LARGE], torch.zeros(num_images))
    sample(AllocationRouter(allocation), networks, make, steps_of(N), seen[0], noise, callback=keep)
    return seen


def test_latent_change_switches_where_the_formula_says() -> None:
    path = along((1,) * N)
    change = [
        torch.tanh((after - before).abs().sum((1, 2, 3)) / before.abs().sum((1, 2, 3)))
        for before, after in itertools.pairwise(path)
    ]
    growth = [now - then for then, now in itertools.pairwise(change)]  # known before step 2, 3, ...
    delta = float(growth[2].median())  # which some images are below at the first step that may switch
    wanted = []
    for image in range(5):
        due = [i + 2 for i, each in enumerate(growth) if i + 2 >= 4 and 0 < each[image] < delta and i + 2 < N]
        wanted.append(due[0] if due else N)
    ledger = Ledger()
    run(LatentChangeRouter(1, 0, delta, 4), ledger=ledger)
    assert ledger.decisions["switch_step"].tolist() == wanted
    assert len(set(wanted)) > 1, "the images of this test should differ"
    assert ledger.evaluations == {1: sum(wanted), 0: 5 * N - sum(wanted)}


def gap(latents: torch.Tensor, index: int) -> torch.Tensor:
    step = steps_of(N)[index]
    timestep = torch.full((len(latents),), step.timestep)
    small, large = (model(latents, timestep, None).eps.flatten(1) for model in (SMALL, LARGE))
    return (small - large).norm(dim=1) / large.norm(dim=1)


@pytest.mark.parametrize("first", [0, 1])
def test_probes_see_the_disagreement_of_each_image_and_are_paid_for(first: int) -> None:
    path = along((first,) * N)
    probed = range(1, N, 3)
    values = {index: gap(path[index], index) for index in probed}
    threshold = float(torch.stack(list(values.values())).quantile(0.6 if first == 0 else 0.2))
    wanted = []
    for image in range(5):
        due = [i for i in probed if (values[i][image] >= threshold) == (first == 0)]
        wanted.append(due[0] if due else N)
    ledger = Ledger()
    run(ProbeRouter(first, 1 - first, threshold, every=3, min_steps=1), ledger=ledger)
    assert ledger.decisions["switch_step"].tolist() == wanted
    assert len(set(wanted)) > 1, "the images of this test should differ"
    # Each probe costs the waiting image a call of the other model; the one that ends the waiting replaces a step's.
    other = sum(N - step for step in wanted) + sum(sum(i < step for i in probed) for step in wanted)
    mine = sum(min(step + 1, N) for step in wanted)
    assert ledger.evaluations == {first: mine, 1 - first: other}


def test_held_correction_is_exact_for_models_that_differ_by_a_constant() -> None:
    def shifted(by: float):
        return lambda x, t, c: Prediction(LARGE(x, t, c).eps + by, torch.zeros_like(x))

    models = (shifted(0.25), LARGE)
    wanted = run(AllocationRouter((1,) * N), models=models)
    for every in (2, 5, N):
        ledger = Ledger()
        found = run(HeldCorrectionRouter(every), models=models, ledger=ledger)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        assert ledger.evaluations == {0: 5 * N, 1: 5 * math.ceil(N / every)}


@pytest.mark.parametrize("solver", ["ddim", "heun", "dpmpp_2m"])
def test_held_correction_comes_nearer_to_the_large_model_the_more_it_is_asked(solver: str) -> None:
    wanted = run(AllocationRouter((1,) * N), solver=solver)
    errors = [float((run(HeldCorrectionRouter(every), solver=solver) - wanted).norm()) for every in (1, 4, 12)]
    assert errors == sorted(errors)
    assert errors[0] == 0
    assert errors[-1] < (run(AllocationRouter((0,) * N), solver=solver) - wanted).norm()


def test_a_hybrid_step_takes_the_large_model_where_they_differed_most() -> None:
    """A copy of the rule in plain loops over images and positions; patches of one position, of nine three."""
    models, region, every = (Gaussian(-0.9, 0.7), LARGE), 1 / 3, 2
    latents, chosen = ImageNoise(7, range(5)).latents(SHAPE), None
    for step in steps_of(N):
        small, large = (model(latents, torch.full((5,), step.timestep), None).eps for model in models)
        if step.index < 3:
            eps = large
        elif step.index >= 9:
            eps = small
        elif (step.index - 3) % every == 0:
            eps, chosen = large, []
            for image in range(5):
                difference = {
                    (row, column): float((large - small)[image, :, row, column].abs().mean())
                    for row in range(3) for column in range(3)
                }  # fmt: skip
                chosen.append(sorted(difference, key=difference.get)[-3:])
        else:
            eps = small.clone()
            for image, places in enumerate(chosen):
                for row, column in places:
                    eps[image, :, row, column] = large[image, :, row, column]
        now, nxt = step.alpha_bar, step.alpha_bar_next
        clean = (latents - math.sqrt(1 - now) * eps) / math.sqrt(now)
        latents = math.sqrt(nxt) * clean + math.sqrt(1 - nxt) * eps
    ledger = Ledger()
    found = run(HybridRouter(1, 3, 6, region, every, 1), models=models, ledger=ledger)
    torch.testing.assert_close(found, latents, rtol=1e-4, atol=1e-5)
    assert ledger.evaluations == {0: 5 * 9, 1: 5 * 9}, "these denoisers cannot predict a part, so all of it is charged"


def test_mdd_takes_the_direction_of_the_correction_and_the_length_of_the_small_model() -> None:
    """A copy of the rule in plain loops over images."""
    models, threshold = (Gaussian(-0.9, 0.7), LARGE), 0.02
    latents, count = ImageNoise(7, range(5)).latents(SHAPE), [0] * 5
    anchor, correction, drift = [None] * 5, [None] * 5, [math.inf] * 5
    for step in steps_of(N):
        timestep = torch.full((5,), step.timestep)
        small, large = (model(latents, timestep, None).eps for model in models)
        eps = []
        for image in range(5):
            if anchor[image] is not None:
                drift[image] += 1 - float(torch.cosine_similarity(small[image].flatten(), anchor[image].flatten(), 0))
            if drift[image] > threshold:
                anchor[image], correction[image] = small[image], large[image] - small[image]
                drift[image], count[image] = 0.0, count[image] + 1
                eps.append(large[image])
                continue
            direction = small[image] + correction[image]
            eps.append(direction * small[image].norm() / direction.norm())
        now, nxt = step.alpha_bar, step.alpha_bar_next
        clean = (latents - math.sqrt(1 - now) * torch.stack(eps)) / math.sqrt(now)
        latents = math.sqrt(nxt) * clean + math.sqrt(1 - nxt) * torch.stack(eps)
    ledger = Ledger()
    found = run(MDDRouter(threshold), models=models, ledger=ledger)
    assert ledger.decisions["large_steps"].tolist() == count
    assert ledger.evaluations == {0: 5 * N, 1: sum(count)}
    assert 5 < sum(count) < 5 * N
    torch.testing.assert_close(found, latents, rtol=1e-4, atol=1e-5)
