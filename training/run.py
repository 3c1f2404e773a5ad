"""The setting of a training, of any kind of recipe."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from training.cards import write_card
from training.directory import claim_directory
from training.group import Group
from training.images import Images
from training.latents import StoredLatents
from training.optimizers import OptimizerSettings
from training.tasks import Task
from training.trainer import TrainerSettings, TrainingRecord, train


@dataclass(frozen=True)
class Training:
    """The recipe, the data, the processes and the directories of a training.

    Attributes:
        recipe: the settings of the network.
        data_name: of the data set, which is also the name of its extractor.
        out: for the checkpoint and the log.
        zoo: of the data set: where its autoencoder, its classifier and its denoisers are.
        weights: for the weights of a denoiser and their card.
        command: what makes the same again, for the card.
    """

    recipe: dict
    data_name: str
    data: Images | StoredLatents
    device: torch.device
    group: Group
    out: Path
    zoo: Path
    weights: Path
    command: str

    @property
    def seed(self) -> int:
        return self.recipe["trainer"]["seed"]

    def run(self, task: Task, **checksums: str) -> tuple[nn.Module, TrainingRecord]:
        """Train in the directory that is the recipe's from now on.

        Args:
            checksums: of the files that the training begins with.
        """
        if self.group.is_main:
            claim_directory(self.out, self.recipe, {"data": self.data.source, **checksums})
        self.group.wait_for_all()
        settings, optimizer = TrainerSettings(**self.recipe["trainer"]), OptimizerSettings(**self.recipe["optimizer"])
        return train(task, settings, optimizer, self.out, self.group)

    def write_card(self, weights: Path, record: TrainingRecord, module: nn.Module, **facts: object) -> None:
        write_card(weights, self.command, self.seed, record, module, data=self.data.source, **facts)
