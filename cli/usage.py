"""`--help` of a command: how it is called, from its configuration, and every setting, from its schema."""

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from models.checkout import CONFIG_DIR
from settings.help import list_settings

GROUPS = ("pair", "sampler", "recipe", "prompts", "experiment")
FLAGS = """A setting without = has no value yet: +KEY=VALUE adds it, and ~KEY takes one away.
--cfg job prints the configuration and ends; -m goes through KEY=A,B; --hydra-help has Hydra's own flags."""


def print_help(command: str) -> None:
    """Print how a command is called, then its settings with their defaults."""
    header = OmegaConf.load(CONFIG_DIR / f"{command}.yaml").hydra.help.header
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose(command, return_hydra_config=True)
        chosen = OmegaConf.to_container(config.hydra.runtime.choices)
        OmegaConf.set_readonly(config, False)
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        defaults = OmegaConf.to_container(config, resolve=True)
    groups = [group for group in GROUPS if group in chosen]
    print(header.rstrip(), list_settings(command, defaults, groups), FLAGS, sep="\n\n")
