"""The environment variables by which torchrun, or another launcher, tells a process its rank."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from tstitch.errors import UserError

WAYS_OUT = "start it with torchrun, which sets them, or unset RANK and WORLD_SIZE"


@dataclass(frozen=True)
class RankEnvironment:
    """One process of `world_size`, `local_world_size` of them on this machine; without variables the only one."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def read_environment(variables: Mapping[str, str] | None = None) -> RankEnvironment:
    """Read the variables and check them, before anything waits for other ranks.

    Args:
        variables: those of the process by default.

    Raises:
        UserError: a value that is no number or out of its range, or no address to meet the other ranks at.
    """
    variables = os.environ if variables is None else variables
    world_size = _whole_number(variables, "WORLD_SIZE", 1, lowest=1)
    local_world_size = _whole_number(variables, "LOCAL_WORLD_SIZE", 1, lowest=1)
    found = RankEnvironment(
        rank=_below(variables, "RANK", "WORLD_SIZE", world_size),
        world_size=world_size,
        local_rank=_below(variables, "LOCAL_RANK", "LOCAL_WORLD_SIZE", local_world_size),
        local_world_size=local_world_size,
    )
    if local_world_size > world_size:
        raise UserError(f"LOCAL_WORLD_SIZE={local_world_size} is more than WORLD_SIZE={world_size}; {WAYS_OUT}")
    if world_size == 1:
        return found
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not variables.get(name)]
    if missing:
        raise UserError(f"the environment has WORLD_SIZE={world_size}, but not {' and '.join(missing)}; {WAYS_OUT}")
    if not 1 <= _whole_number(variables, "MASTER_PORT", 0, lowest=1) <= 65535:
        raise UserError(f"MASTER_PORT must be a port from 1 to 65535, got {variables['MASTER_PORT']}")
    return found


def _whole_number(variables: Mapping[str, str], name: str, default: int, lowest: int) -> int:
    text = variables.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < lowest:
        wanted = f"a whole number of {lowest} or more"
        raise UserError(f"{name} in the environment must be {wanted}, got {text!r}; {WAYS_OUT}")
    return int(text)


def _below(variables: Mapping[str, str], name: str, limit_name: str, limit: int) -> int:
    value = _whole_number(variables, name, 0, lowest=0)
    if value >= limit:
        raise UserError(f"{name}={value} in the environment must be below {limit_name}={limit}; {WAYS_OUT}")
    return value
