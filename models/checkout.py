"""The root of the checkout: paths in the configuration are relative to it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG_DIR = ROOT / "configs"


def resolve_path(path: str) -> Path:
    """Resolve a path of the configuration."""
    return ROOT / path
