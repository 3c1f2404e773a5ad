import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from models.networks.dit import DiT, DiTConfig, initialize_dit
from training.images import load_images
from training.latents import LatentImages
from training.objective import DiffusionObjective
from training.optimizers import OptimizerSettings, learning_rate_factor, make_optimizers
from training.tasks import DenoiserTask
from training.trainer import TrainerSettings, train
from tstitch.errors import UserError
from tstitch.schedule import linear_schedule

TINY = DiTConfig(input_size=4, patch_size=2, hidden_size=32, depth=1, num_heads=2, num_classes=2)
SETTINGS = TrainerSettings(
    iterations=40, batch_size=16, seed=0, bf16=True, ema_decay=0.9, log_every=10, checkpoint_every=20
)
OPTIMIZER = OptimizerSettings(adamw_lr=1e-2, muon_lr=2e-2, warmup_iterations=5)


def make_task() -> DenoiserTask:
    torch.manual_seed(0)
    network = DiT(TINY)
    initialize_dit(network)
    labels = torch.arange(2).repeat(8)
    mean = (2.0 * labels - 1).view(-1, 1, 1, 1).expand(-1, 4, 4, 4).contiguous()
    digits = LatentImages(mean, 0.1 * torch.ones_like(mean), labels, TINY.num_classes)
    return DenoiserTask(network, network, DiffusionObjective(linear_schedule(), 5.0), digits, 0.1)


def test_the_digits_are_the_real_ones() -> None:
    digits = load_images("digits", None)
    images = digits.images
    assert images.shape == (5000, 32, 32)
    assert torch.bincount(torch.from_numpy(digits.labels)).tolist() == [500] * 10
    assert len(digits.seen) == 4500
    assert len(digits.held_out[0]) == 500
    assert not images[:, :2].any()
    assert images.max() == 255


def test_objective_is_the_bound_of_the_true_posterior() -> None:
    """With the exact noise and the posterior's own variance the bound is zero, and grows with either error."""
    schedule = linear_schedule()
    objective = DiffusionObjective(schedule, None)
    latents, signal, sigma = torch.randn(64, 4, 4, 4), objective.signal, objective.sigma

    def loss(eps_error: float, raw_variance: float) -> float:
        def oracle(x, t):
            eps = (x - signal[t].view(-1, 1, 1, 1) * latents) / sigma[t].view(-1, 1, 1, 1)
            return torch.cat([eps + eps_error, torch.full_like(eps, raw_variance)], dim=1)

        return objective(oracle, latents, torch.Generator().manual_seed(0)).item()

    assert loss(0.0, -1.0) == pytest.approx(0, abs=1e-6)
    assert loss(0.0, 1.0) > 1e-5
    assert loss(0.5, -1.0) > 0.25


def test_min_snr_weighs_low_noise_down() -> None:
    weight = DiffusionObjective(linear_schedule(), 5.0).weight
    assert weight[0] < 0.001
    assert weight[-1] == 1
    assert (weight.diff() >= 0).all()


def test_muon_gets_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    network = DiT(TINY)
    adamw, muon = make_optimizers(network, OPTIMIZER)
    matrices = {id(p) for name, p in network.named_parameters() if name.startswith("blocks.") and p.ndim == 2}
    assert {id(p) for p in muon.param_groups[0]["params"]} == matrices
    assert {id(p) for p in adamw.param_groups[0]["params"]} == {id(p) for p in network.parameters()} - matrices
    assert len(make_optimizers(network, OptimizerSettings(adamw_lr=1e-3))) == 1


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    factors = [learning_rate_factor(i, 100, 10) for i in range(101)]
    assert factors[9] == 1.0
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == pytest.approx(0)


def test_training_learns_and_logs(tmp_path: Path) -> None:
    module, record = train(make_task(), SETTINGS, OPTIMIZER, tmp_path)
    log = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in log] == [10, 20, 30, 40]
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    assert record.images_seen == 640
    assert not module.training


def test_interrupted_training_ends_with_the_same_weights(tmp_path: Path, monkeypatch) -> None:
    whole, _ = train(make_task(), SETTINGS, OPTIMIZER, tmp_path)
    task, calls = make_task(), 0
    real_loss = task.loss

    def interrupted(*args):
        nonlocal calls
        calls += 1
        if calls > 33:
            raise KeyboardInterrupt
        return real_loss(*args)

    task.loss = interrupted
    (tmp_path / "two").mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(task, SETTINGS, OPTIMIZER, tmp_path / "two")
    with (tmp_path / "two/train.jsonl").open("a") as log:
        log.write('{"iteration": 4')  # killed in the middle of a line
    resumed, record = train(make_task(), SETTINGS, OPTIMIZER, tmp_path / "two")
    assert record.iterations == 40
    logged = [json.loads(line)["iteration"] for line in (tmp_path / "two/train.jsonl").read_text().splitlines()]
    assert logged == [10, 20, 30, 40], "what is trained again is logged once"
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    class Broken:
        module = nn.Linear(1, 1)

        def loss(self, batch_size, generator, share):
            return self.module(torch.full((1, 1), torch.nan)).sum()

    with pytest.raises(UserError, match="loss is nan at iteration 0"):
        train(Broken(), SETTINGS, OptimizerSettings(adamw_lr=1e-3), tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_an_interval_of_timesteps_is_all_that_is_trained() -> None:
    seen: list[torch.Tensor] = []

    def denoiser(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(t)
        return torch.zeros_like(x)

    latents = torch.randn(2000, 4, 2, 2)
    for interval, first, last in ((None, 0, 999), ((0, 600), 0, 599), ((600, 1000), 600, 999)):
        seen.clear()
        DiffusionObjective(linear_schedule(), 5.0, timesteps=interval)(denoiser, latents, torch.Generator())
        (drawn,) = seen
        assert first <= drawn.min() < first + 20 and last - 20 < drawn.max() <= last


def test_what_follows_a_pretraining_may_leave_average_and_gradients_as_they_are(tmp_path: Path) -> None:
    """DiT's own settings: no clipping, an average that keeps the first weights, the bound in bits."""
    first = {key: value.clone() for key, value in make_task().module.state_dict().items()}
    for name in ("kept", "warm"):
        (tmp_path / name).mkdir()
    kept, _ = train(make_task(), replace(SETTINGS, ema_decay=1.0, ema_warmup=False), OPTIMIZER, tmp_path / "kept")
    assert all(torch.equal(value, first[key]) for key, value in kept.state_dict().items())
    warm, _ = train(make_task(), replace(SETTINGS, ema_decay=1.0), OPTIMIZER, tmp_path / "warm")
    assert any(not torch.equal(value, first[key]) for key, value in warm.state_dict().items())
    with_betas = replace(OPTIMIZER, muon_lr=None, beta1=0.5, beta2=0.6)
    [adamw] = make_optimizers(make_task().module, with_betas)
    assert adamw.defaults["betas"] == (0.5, 0.6)
    latents = torch.randn(8, 4, 4, 4)
    losses = []
    for weight in (0.0, 1.0, 1 / math.log(2)):
        objective = DiffusionObjective(linear_schedule(), None, variational_weight=weight)
        predict = lambda x, t: torch.cat([x, torch.ones_like(x)], dim=1)  # noqa: E731
        losses.append(objective(predict, latents, torch.Generator().manual_seed(0)).item())
    assert (losses[2] - losses[0]) / (losses[1] - losses[0]) == pytest.approx(1 / math.log(2), rel=1e-3)
