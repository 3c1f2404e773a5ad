"""Wishes as overrides: what each field becomes, and that every router's defaults make images."""

from dataclasses import replace

import pytest
from hydra import compose, initialize_config_dir

from app.fields import Fields, default_knobs, make_fields
from app.studio import STITCHED, CancelledError, Studio, compose_settings, open_studio
from app.window import make_window
from app.wish import command_line
from models.checkout import CONFIG_DIR
from sampling.configuration import checked
from sampling.jobs import plan_run
from settings.names import files_of
from tstitch.errors import UserError

TINY = ["pair=digits_dit_s_xl", "sampler=ddim", "sampler.num_steps=5", "num_images=2", "precision=float32", "port=0"]


def fields_of(*overrides: str) -> Fields:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        settings = checked("app", compose("app", list(overrides)))
    return make_fields(settings, plan_run(settings), overrides)


@pytest.fixture(scope="module")
def begin() -> Fields:
    return fields_of(*TINY)


@pytest.fixture(scope="module")
def studio(begin: Fields) -> Studio:
    return open_studio(begin.base, begin.first)


def test_the_settings_of_the_command_line_are_the_first_wish(begin: Fields) -> None:
    assert begin.base == ["pair=digits_dit_s_xl", "precision=float32", "labels=balanced"]
    assert (begin.names, begin.pair) == (["digits_dit_s", "digits_dit_xl"], "digits_dit_s_xl")
    first = ["stitch.fraction=0.4", "sampler=ddim", "sampler.num_steps=5", "guidance.scale=1.1", "seed=0"]
    assert begin.first.overrides() == [*first, "num_images=2", "batch_size=2"]
    three = fields_of("pair=fashion_dit_s_b_xl", "stitch.fractions=[0.5,0.25,0.25]", "guidance.scale=[1,1.5,2]")
    assert three.base == ["pair=fashion_dit_s_b_xl", "labels=balanced"]
    assert "stitch.fractions=[0.5,0.25,0.25]" in three.first.overrides()
    assert "guidance.scale=[1, 1.5, 2]" in three.first.overrides()


def test_fields_of_a_pipeline_are_quoted(begin: Fields) -> None:
    wish = replace(begin.first, prompt='a "red" cat, it\'s {here}', sampler="", guidance="7.5")
    assert wish.command == "prompts"
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("prompts", wish.overrides())
    assert config.prompt == 'a "red" cat, it\'s {here}'
    assert (config.stitch.fraction, config.call.guidance_scale, config.scheduler) == (0.4, 7.5, None)
    assert command_line("prompts", ['prompt="it\'s"']) == "python -m scripts.prompts 'prompt=\"it'\"'\"'s\"'"


@pytest.mark.parametrize(
    "text", ["a\\b", "ends in \\", 'a \\" b', "a ${oc.env:HOME} tag", "\\${x}", "two\nlines", "'", "{[,=:]}", "\\\\"]
)
def test_a_prompt_is_what_was_typed(begin: Fields, text: str) -> None:
    overrides = replace(begin.first, prompt=text, guidance="7").overrides()
    assert compose_settings("prompts", overrides).prompt == text


def test_what_a_command_line_says_of_routers_and_steps_is_what_the_page_begins_with() -> None:
    own = fields_of(*TINY, "router=probe", "router.threshold=0.33").first
    assert own.knobs == "order=small_to_large threshold=0.33 every=4 min_steps=0"
    assert (
        fields_of(*TINY, "stitch.fractions=null", "stitch.denoiser_per_step=[1,0,1,0,1]").first.per_step == "1,0,1,0,1"
    )
    assert fields_of(*TINY, "router=ml_em", "stitch.fraction=0.7").first.shares == (0.7,)
    assert fields_of(*TINY, "stitch.fraction=0.333").first.shares == (0.333,)


@pytest.mark.parametrize("router", files_of("router"))
def test_every_router_makes_images_with_what_its_choice_fills_in(studio: Studio, begin: Fields, router: str) -> None:
    knobs = default_knobs(router, begin.pair)
    wish = replace(begin.first, router=router, knobs=knobs)
    pictures = list(studio.show(wish, lambda title, done, of: None))
    assert [each.images.shape for each in pictures] == [(2, 32, 32, 3)] * 3
    stitched = pictures[1]
    assert stitched.title == STITCHED
    assert (stitched.allocation is None) == (stitched.evaluations is not None)


def test_what_was_made_is_not_made_again(studio: Studio, begin: Fields) -> None:
    before = list(studio.show(begin.first, lambda title, done, of: None))
    steps: list[str] = []
    again = list(studio.show(replace(begin.first, shares=(0.6,)), lambda title, done, of: steps.append(title)))
    assert set(steps) == {STITCHED}
    assert again[0] is before[0]
    assert again[2] is before[2]
    assert list(again[1].allocation) == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "0 out=/tmp/x"}, "has characters that must be quoted"),
        ({"guidance": "2,3"}, "guidance.scale=2,3 is several values"),
        ({"per_step": "0,0,1"}, "an explicit allocation needs 5 entries, one per step, got 3"),
        ({"router": "track", "knobs": "calibration=models"}, "router.calibration="),
        ({"router": "probe", "knobs": "threshold=x"}, "router.threshold must be"),
        ({"router": "probe", "knobs": "", "per_step": "0,0,0,1,1"}, "router=probe decides by itself"),
        ({"sampler": "nope"}, "unknown sampler 'nope'; known: ddim"),
        ({"num_steps": 2.5}, "sampler.num_steps must be a whole number"),
        ({"shares": (1.5,)}, "the shares are 1.5 together; 1 or less is accepted"),
        ({"shares": (-0.5,)}, "stitch.fraction must be a number from 0 to 1, got -0.5"),
        ({"seed": "${oc.env:HOME}"}, "is an interpolation"),
        ({"router": "probe", "knobs": "threshold=${oc.env:HOME}"}, "is an interpolation"),
    ],
)
def test_bad_fields_are_named(studio: Studio, begin: Fields, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(studio.show(replace(begin.first, **change), lambda title, done, of: None))


def test_an_unknown_key_of_a_command_line_is_named() -> None:
    with pytest.raises(UserError, match=r"unknown key 'sampler\.steps'"):
        compose_settings("sample", ["sampler.steps=5"])


def test_the_field_of_the_steps_begins_with_the_command_lines(studio: Studio) -> None:
    own = fields_of(*TINY, "stitch.fractions=null", "stitch.denoiser_per_step=[1,0,1,0,1]")
    blocks = make_window(studio, own).blocks.values()
    assert [each.value for each in blocks if getattr(each, "elem_id", None) == "per-step"] == ["1,0,1,0,1"]


def test_who_cancels_stops_nobody_else(studio: Studio, begin: Fields) -> None:
    wish = replace(begin.first, seed="77")

    def watch(title: str, done: int, of: int) -> None:
        studio.cancel("another")

    assert len(list(studio.show(wish, watch, "me"))) == 3
    with pytest.raises(CancelledError):
        list(studio.show(replace(wish, seed="78"), lambda title, done, of: studio.cancel("me"), "me"))
