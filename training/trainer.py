"""One training loop: moving average, bf16 autocast, resume, a JSON log, one process or one for each GPU."""

import copy
import io
import json
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from training.group import ALONE, Group
from training.optimizers import OptimizerSettings, learning_rate_factor, make_optimizers
from training.tasks import Task
from tstitch.errors import UserError, explain_error, is_out_of_memory
from tstitch.runs.atomic import naming, write_atomically

LOG = "train.jsonl"


@dataclass(frozen=True)
class TrainerSettings:
    """Settings of a training. `checkpoint_every` and `log_every` count iterations.

    `ema_warmup` lets the average forget the first weights soon, which are random where no training came before.
    """

    iterations: int
    batch_size: int
    seed: int
    bf16: bool
    ema_decay: float
    log_every: int
    checkpoint_every: int
    ema_warmup: bool = True


@dataclass(frozen=True)
class TrainingRecord:
    """Measurements of a finished training. `loss` is the mean over the last tenth of the iterations."""

    iterations: int
    images_seen: int
    seconds: float
    loss: float


class TaskLoss(nn.Module):
    """A task's loss as a module: what `DistributedDataParallel` wraps."""

    def __init__(self, task: Task):
        super().__init__()
        self.task, self.module = task, task.module

    def forward(self, *arguments: object) -> Tensor:
        return self.task.loss(*arguments)


def train(
    task: Task, settings: TrainerSettings, optimizer_settings: OptimizerSettings, out: Path, group: Group = ALONE
) -> tuple[nn.Module, TrainingRecord]:
    """Train `task.module` and return its moving average in evaluation mode, with the record.

    `out` gets `train.jsonl` and `checkpoint.pt` from the first process; a second call with the same arguments
    continues from the checkpoint. Each iteration draws from a generator keyed by (seed, iteration), so an interrupted
    training sees the same batches as an uninterrupted one, and each process of a group takes its share of the batch
    that one process would take. The module lies on the device of the data.

    Raises:
        UserError: a loss that is not finite, a damaged checkpoint, or a batch that the processes cannot share evenly.
    """
    share = group.share(settings.batch_size)
    device = next(task.module.parameters()).device
    average = copy.deepcopy(task.module).requires_grad_(False)
    optimizers = make_optimizers(task.module, optimizer_settings)
    base_rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    checkpoint = out / "checkpoint.pt"
    first, seconds_before, losses = _restore(checkpoint, task.module, average, optimizers)
    if group.is_main:
        _cut_log(out / LOG, first)
    started = time.perf_counter()
    pending: list[Tensor] = []
    generator = torch.Generator(device)
    task.module.train()
    compute_loss = group.average_gradients(TaskLoss(task))
    for iteration in range(first, settings.iterations):
        factor = learning_rate_factor(
            iteration, settings.iterations, optimizer_settings.warmup_iterations, optimizer_settings.is_constant
        )
        for optimizer, rate in zip(optimizers, base_rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
        generator.manual_seed(settings.seed * 1_000_003 + iteration)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
            loss = compute_loss(settings.batch_size, generator, share)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if optimizer_settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(task.module.parameters(), optimizer_settings.clip_norm)
        for optimizer in optimizers:
            optimizer.step()
        most = (1 + iteration) / (10 + iteration) if settings.ema_warmup else 1.0
        _update_average(average, task.module, min(settings.ema_decay, most))
        pending.append(loss.detach())
        done = iteration + 1
        is_logged = done % settings.log_every == 0 or done == settings.iterations
        is_saved = done % settings.checkpoint_every == 0 or done == settings.iterations
        if not (is_logged or is_saved or device.type == "cpu"):
            continue  # a GPU runs ahead of its losses
        losses += _finite(group.mean(pending), len(losses))
        pending.clear()
        seconds = seconds_before + time.perf_counter() - started
        if is_logged and group.is_main:
            _report(out / LOG, settings, done, losses, seconds)
        if is_saved and group.is_main:
            _save(checkpoint, task.module, average, optimizers, done, seconds, losses)
    tail = losses[-max(1, settings.iterations // 10) :]
    seconds = seconds_before + time.perf_counter() - started
    record = TrainingRecord(
        settings.iterations, settings.iterations * settings.batch_size, seconds, sum(tail) / len(tail)
    )
    return average.eval(), record


def _finite(losses: list[float], first: int) -> list[float]:
    for iteration, loss in enumerate(losses, first):
        if not math.isfinite(loss):
            raise UserError(f"the loss is {loss} at iteration {iteration}; lower the learning rate")
    return losses


@torch.no_grad()
def _update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - decay)
    for kept, new in zip(average.buffers(), module.buffers(), strict=True):
        kept.copy_(new)


def _cut_log(log: Path, done: int) -> None:
    """Remove the lines of iterations that come again: a killed training wrote them after its last checkpoint."""
    if not log.is_file():
        return
    kept = []
    for line in log.read_text().splitlines(keepends=True):
        with suppress(ValueError):  # the last line may be a part of one
            if json.loads(line)["iteration"] <= done:
                kept.append(line)
    write_atomically(log, "".join(kept).encode())


def _report(log: Path, settings: TrainerSettings, done: int, losses: list[float], seconds: float) -> None:
    recent = losses[-settings.log_every :]
    loss, eta_s = sum(recent) / len(recent), seconds / done * (settings.iterations - done)
    print(f"{done}/{settings.iterations}  loss {loss:.4f}  {seconds:.0f} s  ETA {eta_s:.0f} s", flush=True)
    line = {"iteration": done, "loss": loss, "images_seen": done * settings.batch_size, "seconds": round(seconds, 1)}
    with naming(log), log.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _save(path: Path, module: nn.Module, average: nn.Module, optimizers: list, *progress: object) -> None:
    state = {
        "module": module.state_dict(),
        "average": average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "progress": list(progress),
    }
    content = io.BytesIO()  # PyTorch's own writer does not name a file that it cannot write
    torch.save(state, content)
    write_atomically(path, content.getvalue())


def _restore(path: Path, module: nn.Module, average: nn.Module, optimizers: list) -> tuple[int, float, list[float]]:
    if not path.exists():
        return 0, 0.0, []
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        done, seconds, losses = _check_progress(*state["progress"])
        module.load_state_dict(state["module"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    except Exception as error:  # on garbage the readers raise nearly anything
        if is_out_of_memory(error):
            raise
        reason = explain_error(error, 120)
        raise UserError(
            f"{path} is no checkpoint of this training, or a damaged one ({reason}); "
            "remove it, and the training begins anew, or give another out=DIR"
        ) from error
    print(f"continuing from iteration {done}", flush=True)
    return done, seconds, losses


def _check_progress(done: object, seconds: object, losses: object) -> tuple[int, float, list[float]]:
    """Raise `ValueError` unless a checkpoint has a finite loss for each iteration, and the seconds of all."""
    if type(done) is not int or not isinstance(losses, list) or len(losses) != done:
        raise ValueError(f"progress must have a loss for each iteration, got {done!r} iterations")
    if not all(type(value) in (int, float) and math.isfinite(value) for value in (seconds, *losses)):
        raise ValueError("progress must have finite seconds and losses")
    return done, seconds, losses
