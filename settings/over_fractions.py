"""Settings of the commands that go through fractions: the lists that make a grid of points, and their bound."""

from typing import Annotated, Any

from pydantic import Field

from settings.base import Settings, refuse
from settings.fractions import MOST_POINTS, FractionsToSweep
from settings.kinds import OneOf, Whole, show
from settings.lists import ListOf, OneOrEach
from settings.names import ANALYSES, MATCHES, ORDERS, RULES, files_of
from settings.router import RouterChoice
from settings.sampling import SCALE, SamplingSettings

Scales = Annotated[list, ListOf(OneOrEach(SCALE))]
SamplerNames = Annotated[list[str], ListOf(OneOf(files_of("sampler")))]
StepCounts = Annotated[list[int], ListOf(Whole(1, 10**6))]
Orders = Annotated[list[str], ListOf(OneOf(ORDERS))]
Rules = Annotated[list[str], ListOf(OneOf(RULES))]
Matches = Annotated[list[str], ListOf(OneOf(MATCHES))]
Analysis = Annotated[str, OneOf(ANALYSES)]


class Grid(Settings):
    """A grid of points: each of its lists in place of the sweep's own."""

    fractions: FractionsToSweep = Field(None, description="of the small model")
    guidance_scales: Scales | None = Field(None, description="guidance scales")
    samplers: SamplerNames | None = Field(None, description="samplers by name")
    num_steps: StepCounts | None = Field(None, description="numbers of solver steps")
    orders: Orders | None = Field(None, description="orders of the steps")
    rules: Rules | None = Field(None, description="allocation rules")
    routers: list[RouterChoice] | None = Field(None, description="routers: kind, and what differs from its defaults")
    matches: Matches | None = Field(None, description="how timesteps of other schedules are matched")


AXES = tuple(Grid.model_fields)


class OverFractions(SamplingSettings):
    """The settings of a command that goes through fractions, which are therefore not given in another way."""

    fractions: FractionsToSweep = Field(
        description="of the small model: a list; lists with one value for each denoiser; or START:STOP:STEP, which for "
        "three models is every combination"
    )
    paper: dict[str, Any] | None = Field(None, description="brought by an experiment: the paper's numbers")

    def refuse_other_words(self, command: str) -> None:
        """Raise unless the fractions alone say who takes which step.

        Args:
            command: what it is, for the message.
        """
        if self.stitch.explicit:
            word = self.stitch.explicit[0]
            raise refuse(f"{command} is over fractions, so stitch.{word} has no meaning in it; use scripts.sample")


def refuse_many(num_points: int, fractions: list | str) -> None:
    """Raise where there are more points than a command can be meant to go through."""
    if num_points > MOST_POINTS:
        raise refuse(
            f"fractions and the other lists make {num_points:,} points, and at most {MOST_POINTS:,} are taken; "
            f"shorten them, got fractions={show(fractions)}"
        )
