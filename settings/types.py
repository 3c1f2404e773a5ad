"""Types of the settings that several commands have, with the bounds of what a machine can hold."""

from typing import Annotated

from settings.kinds import SEED_LIMIT, FileName, Flag, Number, PathText, Text, Whole

Count = Annotated[int, Whole(1, 10**9)]
BatchSize = Annotated[int, Whole(1, 2**16)]
Repeats = Annotated[int, Whole(1, 10**5)]
Draws = Annotated[int, Whole(0, 10**5)]
NumSteps = Annotated[int, Whole(1, 10**6)]
Ranks = Annotated[int, Whole(1, 4096)]
Seed = Annotated[int, Whole(0, SEED_LIMIT)]
Size = Annotated[int, Whole(1, 2**14)]
Switch = Annotated[bool, Flag()]
Share = Annotated[float, Number(0, 1)]
Positive = Annotated[float, Number(0, is_open=True)]
NotNegative = Annotated[float, Number(0)]
Words = Annotated[str, Text()]
Name = Annotated[str, FileName()]
PathName = Annotated[str, PathText()]
