"""What PyTorch Lightning puts beside a `state_dict`.

Looked up: documentation of PyTorch Lightning, "Checkpoint contents" (1.4 to 2.5), and its migration guide: callbacks
are stored under their class until 1.5, and under a text that names class and settings since; `loops` exist since 1.5.
"""

from pathlib import Path

import torch
from torch import Tensor

from tests.published.torch_files import foreign_class, save

CHECKPOINT_KEY = (
    "ModelCheckpoint{'monitor': 'val/loss_simple_ema', 'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1, "
    "'train_time_interval': None, 'save_on_train_epoch_end': True}"
)


def write_lightning(path: Path, state: dict[str, Tensor], legacy: bool = False) -> Path:
    """Write a checkpoint of Lightning since 1.6, as the T-Stitch LDMs are."""
    score = torch.tensor(0.157)
    checkpoint = {
        "monitor": "val/loss_simple_ema",
        "best_model_score": score,
        "best_model_path": "logs/checkpoints/epoch=000079.ckpt",
        "current_score": score,
        "dirpath": "logs/checkpoints",
        "best_k_models": {"logs/checkpoints/epoch=000079.ckpt": score},
        "kth_best_model_path": "logs/checkpoints/epoch=000079.ckpt",
        "kth_value": score,
        "last_model_path": "logs/checkpoints/last.ckpt",
    }
    progress = {"total": {"ready": 80, "completed": 79, "started": 80, "processed": 79}, "current": {"ready": 80}}
    loops = {"fit_loop": {"state_dict": {}, "epoch_loop.state_dict": {"_batches_that_stepped": 400_000},
                          "epoch_progress": progress}, "validate_loop": {"state_dict": {}}}  # fmt: skip
    with foreign_class("pytorch_lightning.utilities.parsing", "AttributeDict") as attribute_dict:
        hyper_parameters = attribute_dict()
        hyper_parameters.learning_rate = 1e-6
        content = {
            "epoch": 79,
            "global_step": 400_000,
            "pytorch-lightning_version": "1.9.0",
            "state_dict": state,
            "loops": loops,
            "callbacks": {CHECKPOINT_KEY: checkpoint},
            "optimizer_states": [_adam(state)],
            "lr_schedulers": [{"base_lrs": [1e-6], "last_epoch": 400_000}],
            "hparams_name": "kwargs",
            "hyper_parameters": hyper_parameters,
        }
        return save(content, path, legacy)


def write_old_lightning(path: Path, state: dict[str, Tensor], legacy: bool = False) -> Path:
    """Write a checkpoint of Lightning before 1.6, as the first stages of latent diffusion are."""
    with foreign_class("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint") as model_checkpoint:
        content = {
            "epoch": 11,
            "global_step": 236_951,
            "pytorch-lightning_version": "1.0.8",
            "callbacks": {model_checkpoint: {"best_model_score": torch.tensor(0.4), "best_model_path": "last.ckpt"}},
            "optimizer_states": [_adam(state), _adam(state)],
            "lr_schedulers": [],
            "state_dict": state,
        }
        return save(content, path, legacy)


def _adam(state: dict[str, Tensor]) -> dict:
    value = next(value for value in state.values() if value.ndim > 1)
    moments = {"step": 400_000, "exp_avg": torch.zeros_like(value), "exp_avg_sq": torch.zeros_like(value)}
    return {"state": {0: moments}, "param_groups": [{"lr": 1e-6, "betas": (0.9, 0.999), "params": [0]}]}
