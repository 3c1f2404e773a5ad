"""A short training under torchrun: `torchrun --nproc-per-node 2 -m tests.training.several OUT`."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.training.test_training import OPTIMIZER, SETTINGS, make_task
from training.group import joined_group
from training.trainer import TaskLoss, train
from tstitch.runs.environment import read_environment


def main(out: Path) -> None:
    torch.set_num_threads(1)
    environment = read_environment()
    with joined_group(environment.rank, environment.world_size, torch.device("cpu")) as group:
        if environment.rank > 0:
            torch.manual_seed(1)  # weights come from the first process, whatever the others have drawn
        task = make_task()
        with torch.no_grad():  # as after training: at its initialisation only the last layer has a gradient
            generator = torch.Generator().manual_seed(7)
            for parameter in task.module.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        loss = group.average_gradients(TaskLoss(task))
        loss(SETTINGS.batch_size, torch.Generator().manual_seed(3), group.share(SETTINGS.batch_size)).backward()
        gradients = {name: value.grad for name, value in task.module.named_parameters() if value.grad is not None}
        _, record = train(make_task(), replace(SETTINGS, bf16=False), OPTIMIZER, out, group)
        if group.is_main:
            save_file(gradients, out / "gradients.safetensors")
            (out / "loss").write_text(str(record.loss))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
