"""The schema of each command, by its name."""

from settings.allocation import AllocationSettings
from settings.app import AppSettings, PromptAppSettings
from settings.base import Settings
from settings.choose import ChooseSettings
from settings.measures import AnalyseSettings, LatencySettings
from settings.prompts import PromptSettings
from settings.results import (
    CompareSettings,
    EvaluateSettings,
    FlatnessSettings,
    FrontsSettings,
    MergeSettings,
    MixturesSettings,
    ReportSettings,
    TableSettings,
)
from settings.sampling import SamplingSettings
from settings.sweep import SweepSettings
from settings.sweep_prompts import PromptSweepSettings
from settings.train import TrainSettings

COMMANDS: dict[str, type[Settings]] = {
    "sample": SamplingSettings,
    "sweep": SweepSettings,
    "choose": ChooseSettings,
    "latency": LatencySettings,
    "analyse": AnalyseSettings,
    "app": AppSettings,
    "app_prompts": PromptAppSettings,
    "allocation": AllocationSettings,
    "prompts": PromptSettings,
    "sweep_prompts": PromptSweepSettings,
    "evaluate": EvaluateSettings,
    "compare": CompareSettings,
    "merge": MergeSettings,
    "report": ReportSettings,
    "flatness": FlatnessSettings,
    "mixtures": MixturesSettings,
    "fronts": FrontsSettings,
    "table": TableSettings,
    "train": TrainSettings,
}
