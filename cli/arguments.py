"""Parsers of command lines that say in one line what is wrong with one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from tstitch.errors import UserError


class Parser(argparse.ArgumentParser):
    """A parser of positional arguments and flags whose errors are the user's, and no page on the usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help shows what is known")


def check_flags(arguments: Sequence[str]) -> None:
    """Check the flags of a command line of Hydra's, `--cfg job` and the like, and that no setting is one.

    Raises:
        UserError: an unknown flag, a flag without its value, or a setting behind one.
    """
    if not any(argument.startswith("-") for argument in arguments):
        return
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.__class__ = Parser
    parser.prog = "the command"
    _, unknown = parser.parse_known_args(arguments)
    flag = next((argument for argument in unknown if argument.startswith("-")), None)
    if flag is not None and "=" in flag:
        raise UserError(f"{flag} has dashes, which settings have not: {flag.lstrip('-')}")
    if flag is not None:
        raise UserError(f"unknown flag {flag}; settings are KEY=VALUE, --help lists them and --hydra-help the flags")
    if unknown:
        raise UserError(f"{unknown[0]} is behind a flag and others are before it; put all settings before the flags")
