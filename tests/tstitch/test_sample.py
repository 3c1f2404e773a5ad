"""The sampling loop and routers: stages, who is asked, rows of a batch, the ledger."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from tests.networks import GivenNoise, InMemory
from tstitch.denoiser import Prediction
from tstitch.guidance import GuidedDenoiser
from tstitch.noise import ImageNoise
from tstitch.router import AllocationRouter, Ask, Ledger, Route, Router, Stage
from tstitch.routers.by_image import predict_by_image, scatter
from tstitch.sample import StepResult, sample
from tstitch.schedule import make_schedule, make_timesteps
from tstitch.solvers.make import SAMPLERS, solver_factory
from tstitch.solvers.steps import Predict, Step, trajectory_steps

SCHEDULE = make_schedule("linear", num_train_timesteps=1000, beta_start=0.0001, beta_end=0.02)
ALLOCATION = (0, 0, 0, 1, 1, 0, 0, 0)
LATENTS = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([1.0, 2.0, 3.0])
NOISE = GivenNoise(lambda index: torch.randn(LATENTS.shape, generator=torch.Generator().manual_seed(index)))


@dataclass
class Linear:
    """A denoiser whose every image is computed by itself, so that rows are exact; counts its calls by timestep."""

    weight: float

    def __post_init__(self) -> None:
        self.timesteps: list[int] = []

    def __call__(self, latents: Tensor, timestep: Tensor, condition: Tensor) -> Prediction:
        self.timesteps.append(int(timestep[0]))
        eps = self.weight * latents + 1e-3 * timestep.view(-1, 1, 1, 1) + condition.view(-1, 1, 1, 1)
        return Prediction(eps, torch.zeros_like(latents))


def guided(weight: float, scale: float = 1.5) -> GuidedDenoiser:
    return GuidedDenoiser(Linear(weight), scale, 3, unconditional=torch.zeros_like)


def run(router: Router, name: str = "ddim", history: str = "keep", **more) -> Tensor:
    timesteps = make_timesteps("ddim_stride", len(ALLOCATION), 1000)
    solver, steps = solver_factory(name, SCHEDULE, timesteps), trajectory_steps(SCHEDULE, timesteps)
    networks = more.pop("networks", None) or InMemory([guided(0.5), guided(0.7)], LABELS)
    return sample(router, networks, solver, steps, LATENTS, NOISE, history, **more)


def test_stages_of_an_allocation_are_its_spans() -> None:
    steps = [Step(k, 7 - k, None, 0.5, 0.6) for k in range(8)]
    assert AllocationRouter(ALLOCATION).stages(steps) == (Stage((0,), 0, 3), Stage((1,), 3, 5), Stage((0,), 5, 8))
    with pytest.raises(AssertionError, match="one allocation entry per step"):
        AllocationRouter((0, 1)).stages(steps)


def test_each_stage_holds_its_models_and_no_others() -> None:
    networks = InMemory([guided(0.5), guided(0.7), None], LABELS)
    run(AllocationRouter(ALLOCATION), networks=networks)
    assert networks.used == [(0,), (1,), (0,)]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_multistep_solver_forgets_at_a_switch_only_where_it_is_told_to(name: str) -> None:
    keep, reset = (run(AllocationRouter(ALLOCATION), name, history) for history in ("keep", "reset"))
    # UniPC's corrector and PLMS, DPM-Solver++ and PNDM combine earlier predictions.
    assert torch.equal(keep, reset) == (name not in ("plms", "dpmpp_2m", "unipc", "pndm"))
    assert torch.equal(run(AllocationRouter((1,) * 8), name, "reset"), run(AllocationRouter((1,) * 8), name, "keep"))


def test_the_callback_gets_the_predictions_and_the_latents() -> None:
    seen: list[StepResult] = []
    result = run(AllocationRouter(ALLOCATION), "heun", callback=seen.append)
    assert [done.model for done in seen] == list(ALLOCATION)
    assert [len(done.predictions) for done in seen] == [2] * 7 + [1], "Heun calls twice, but for the last step"
    assert torch.equal(seen[-1].latents, result)
    timesteps = torch.full((3,), seen[0].step.timestep)
    doubled = torch.cat([LATENTS, LATENTS]), timesteps.repeat(2), torch.cat([LABELS, torch.zeros(3)])
    conditional, unconditional = Linear(0.5)(*doubled).eps.chunk(2)
    expected = unconditional + 1.5 * (conditional - unconditional)
    expected[:, 3:] = conditional[:, 3:]
    torch.testing.assert_close(seen[0].predictions[0][1].eps, expected)


def test_the_ledger_counts_calls_and_evaluations_of_each_model() -> None:
    ledger = Ledger()
    networks = InMemory([guided(0.5), guided(0.7, scale=1)], LABELS)
    run(AllocationRouter(ALLOCATION), "heun", networks=networks, ledger=ledger)
    assert ledger.calls == {0: 11, 1: 4}
    assert ledger.evaluations == {0: 11 * 6, 1: 4 * 3}, "three images, twice where they are guided"


@dataclass(frozen=True)
class PerImage:
    """The small model for the images whose latents are small, the large one for the others, by rows of the batch."""

    by_rows: bool

    def stages(self, steps: list[Step]) -> tuple[Stage, ...]:
        return (Stage((0, 1), 0, len(steps)),)

    def start(self, noise: ImageNoise, steps: list[Step]) -> Route:
        return PerImageRoute(self.by_rows)

    def identity(self) -> dict:
        return {"by_rows": self.by_rows}


@dataclass(frozen=True)
class PerImageRoute:
    by_rows: bool
    decisions: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, step: Step, latents: Tensor, ask: Ask) -> Predict:
        chosen = (latents.flatten(1).norm(dim=1) > 4).long()
        self.decisions[f"step_{step.index}"] = chosen

        def predict(x: Tensor, timestep: int) -> Prediction:
            if self.by_rows:
                return predict_by_image(ask, chosen, x, timestep)
            parts = []
            for model in chosen.unique().tolist():
                rows = (chosen == model).nonzero().flatten()
                parts.append((rows, Prediction(*(values[rows] for values in ask(model, x, timestep)))))
            return scatter(x, parts)

        return predict


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_decision_for_each_image_is_the_same_by_rows_and_by_selection_from_the_whole_batch(name: str) -> None:
    """Each row gets its own condition and its own "no condition"."""
    ledgers = [Ledger(), Ledger()]
    by_rows, selected = (
        run(PerImage(flag), name, ledger=own) for flag, own in zip((True, False), ledgers, strict=True)
    )
    assert torch.equal(by_rows, selected)
    assert 0 < sum(ledgers[0].evaluations.values()) < sum(ledgers[1].evaluations.values())
    decisions = [f"step_{index}" for index in range(8)]
    for own in ledgers:
        assert list(own.decisions) == [*decisions, "evaluations"], "what images decided is kept, and what it cost"
        assert own.decisions["evaluations"].sum(dim=0).tolist() == [own.evaluations[0], own.evaluations[1]]
