"""The settings of `scripts.app` and of `scripts.app_prompts`: those of a run, which fill the fields, and an address."""

from typing import Annotated

from pydantic import Field, model_validator

from settings.base import Settings, refuse
from settings.kinds import PathText, Whole
from settings.lists import ListOf
from settings.prompts import PromptSettings
from settings.sampling import SamplingSettings
from settings.types import Switch, Words


class Served(Settings):
    """Where a window is served."""

    host: Words = Field(description="the address that listens; 0.0.0.0: whoever reaches this machine may use it")
    port: Annotated[int, Whole(0, 65535)] = Field(description="0: one that is free")
    browser: Switch = Field(description="true: open the page in the browser")


class AppSettings(Served, SamplingSettings):
    """The settings of `scripts.app`."""

    @model_validator(mode="after")
    def _check_window(self) -> "AppSettings":
        if self.dry_run:
            raise refuse("a window has no dry_run; scripts.sample dry_run=true says what a run would cost")
        return self


class PromptAppSettings(Served, PromptSettings):
    """The settings of `scripts.app_prompts`."""

    small: Annotated[list[str], ListOf(PathText())] = Field(
        description="folders of the smaller denoisers, small to large, at least one"
    )
