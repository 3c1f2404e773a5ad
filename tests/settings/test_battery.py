"""Every field of every command with wrong types, edges and neighbours: taken as it was given, or refused by its key."""

import copy
from collections.abc import Iterator

import pytest

from settings.base import Settings, kind_of, takes_null
from settings.check import check_settings
from settings.commands import COMMANDS
from settings.kinds import PathText
from tests.settings.composed import CASES, composed, walk
from tests.settings.values import cases_of
from tstitch.errors import UserError

# Values that their fields take, and that a rule over several fields refuses: a part of its message.
RULES = (
    "give one of ", "residency=staged ", "is over fractions, so stitch.", "is for scripts.sweep",
    " has no such setting", "this experiment is an analysis", "are both set; give one", "loras needs ",
    "go together; give both or neither", "against= is for metrics=[clip_score]", "sweep= is for one experiment",
    "is where the Markdown page would go", "needs a preset, or all of", "has preset=", "at most 10,000 are taken",
    "has clip_score among its metrics", "needs 0 < beta_start", "needs a hidden_size", "needs an input_size",
    "has a level of", " is for dry_run=true", "process_per_point=true is with", "num_calls is with",
    "needs timesteps of the form", "trains denoisers that predict eps", "needs sigma_min < sigma_max",
    "images=latents trains denoisers", "needs two DiTs of one noise schedule",
    "whose steps are one call each", "chooses who takes which step", "scripts.choose chooses by FID",
    "is among the seeds of the choice",
    "is for two denoisers", "decides by itself, so stitch.", "chooses the steps, so allocation.order",
    "an analysis gives the first steps to the small model",
    "asks for parts of a batch", "is for a switch of all images at once", "would poison the history",
    "a window has no dry_run",
    "router.calibration=FILE go together", "router.ratio=NUMBER go together", "takes stitch.fraction or stitch.counts",
)  # fmt: skip
# Rules that refuse every value of a field in one of the cases.
ALWAYS = (" has no such setting", "has preset=")


def fields(case: str) -> Iterator[tuple[tuple, str, Settings]]:
    """Yield the place, the key and the group of every field of a case."""
    for place, model in walk(COMMANDS[CASES[case][0]], composed(case)):
        for key in model.model_fields:
            yield place, key, model


def changed(case: str, place: tuple) -> tuple[dict, dict]:
    """Return a copy of a case, and the group at a place in it."""
    container = copy.deepcopy(composed(case))
    group = container
    for part in place:
        group = group[part]
    return container, group


def outcome(case: str, container: dict) -> str | Settings:
    """Return the checked settings, or the one line of the refusal."""
    try:
        return check_settings(CASES[case][0], container)
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)


def with_value(case: str, place: tuple, key: str, value: object) -> str | Settings:
    container, group = changed(case, place)
    group[key] = value
    return outcome(case, container)


def taken(settings: Settings, place: tuple, key: str) -> object:
    value = settings.model_dump(exclude_unset=True)
    for part in (*place, key):
        value = value[part]
    return value


@pytest.mark.parametrize("case", CASES)
def test_each_value_is_taken_or_refused_by_its_type(case: str) -> None:
    wrong, tried = [], 0
    for place, key, model in fields(case):
        info = model.model_fields[key]
        if (kind := kind_of(info)) is None:
            continue
        name = ".".join(map(str, (*place, key)))
        values = cases_of(kind)
        accepted = [*values.accepted, None] if takes_null(info) else values.accepted
        refused = values.refused if takes_null(info) else [*values.refused, None]
        _, group = changed(case, place)
        accepted = [*accepted, *([group[key]] if key in group and kind.accepts(group[key]) else [])]
        if key in ("family", "kind") and model.kind_name:
            accepted, refused = [model.kind_name], ["other", "", None, 3, [], {}]
        results = [with_value(case, place, key, value) for value in accepted]
        for value, result in zip(accepted, results, strict=True):
            fits = is_rule(result) if isinstance(result, str) else same(result, place, key, value)
            wrong += [] if fits else [f"{name}={value!r} should be taken, got: {result}"]
        if all(isinstance(result, str) and not any(rule in result for rule in ALWAYS) for result in results):
            wrong.append(f"{name} takes no value at all: {results[0]}")
        for value in refused:
            result = with_value(case, place, key, value)
            fits = isinstance(result, str) and result.startswith(f"{name} must be ")
            wrong += [] if fits else [f"{name}={value!r} should be refused by its key, got: {result}"]
        tried += len(accepted) + len(refused)
    assert not wrong, "\n".join(wrong[:20])
    assert tried > 10


def is_rule(message: str) -> bool:
    """Tell whether a refusal is that of a rule over several fields."""
    return any(rule in message for rule in RULES)


def same(settings: Settings, place: tuple, key: str, value: object) -> bool:
    """Tell whether a value was kept with its type, all the way down."""
    return repr(taken(settings, place, key)) == repr(value)


@pytest.mark.parametrize("case", CASES)
def test_unknown_deleted_and_empty_keys_are_named(case: str) -> None:
    for place, model in walk(COMMANDS[CASES[case][0]], composed(case)):
        prefix = "".join(f"{part}." for part in place)
        if model.model_config["extra"] == "forbid":
            message = with_value(case, place, "neighbour", 3)
            assert str(message).startswith(f"unknown key '{prefix}neighbour'; "), message
        for key, info in model.model_fields.items():
            container, group = changed(case, place)
            if key not in group:
                continue
            del group[key]
            message = outcome(case, container)
            if key in ("family", "kind") and model.kind_name:
                assert f"{prefix}{key} must be one of " in message
            elif info.is_required():
                assert message.startswith(f"{prefix}{key} is missing; it must be "), message
            if kind_of(info) is None and info.is_required() and key != "paper" and not takes_null(info):
                for value in (None, 3, "text", []):
                    message = str(with_value(case, place, key, value))
                    assert message.startswith(f"{prefix}{key}"), message


@pytest.mark.parametrize("case", CASES)
def test_composed_settings_are_taken_unchanged(case: str) -> None:
    """Types and values decide the identity of a run."""
    kept, given = check_settings(CASES[case][0], composed(case)).model_dump(exclude_unset=True), composed(case)
    assert kept == given
    assert sorted(map(repr, leaves(kept))) == sorted(map(repr, leaves(given)))


def leaves(values: object) -> Iterator[object]:
    if not isinstance(values, dict | list):
        yield values
        return
    for value in values.values() if isinstance(values, dict) else values:
        yield from leaves(value)


@pytest.mark.parametrize("case", CASES)
def test_a_path_that_reads_as_a_number_is_its_text(case: str) -> None:
    for place, key, model in fields(case):
        if isinstance(kind_of(model.model_fields[key]), PathText):
            for number, text in ((20261124, "20261124"), (1000.0, "1000.0")):
                result = with_value(case, place, key, number)
                assert is_rule(result) if isinstance(result, str) else taken(result, place, key) == text
