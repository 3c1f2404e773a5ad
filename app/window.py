"""The window: fields on top, three columns of images below, each with its time and who took which step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html import escape
from itertools import groupby

import gradio as gr

from app.fields import Fields, default_knobs
from app.studio import LARGE, SMALL, STITCHED, CancelledError, Picture, Studio
from evaluation.report.page import data_url
from settings.names import files_of
from tstitch.errors import UserError

COLOURS = ("#0072b2", "#b35900", "#00735a", "#a3467c")
SCHEDULERS = ("DDIMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler")
# The fonts of the machine: Gradio's own come from the network.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
STYLE = """
.who { display: flex; height: 1.5em; border-radius: .3em; overflow: hidden; font-size: .8em; line-height: 1.5em }
.who span { color: white; text-align: center; overflow: hidden; white-space: nowrap }
.images { display: grid; grid-template-columns: repeat(auto-fill, minmax(80px, 1fr)); gap: .3em; margin: .5em 0 }
.images img { width: 100%; image-rendering: pixelated; border-radius: .2em }
.time { font-size: 1.15em; font-weight: 600 }
.error { color: #c4314b; font-weight: 600 }
.dark .error { color: #ff8a9a }
"""


def make_window(studio: Studio, begin: Fields) -> gr.Blocks:
    """Lay out the window, with the fields as they begin."""
    is_pair, first, names = begin.pair is not None, begin.first, begin.names
    with gr.Blocks(title="T-Stitch", analytics_enabled=False, fill_width=True) as window:
        gr.Markdown(f"# {' → '.join(names)}")
        prompt = gr.Textbox(first.prompt, label="prompt", visible=not is_pair, elem_id="prompt")
        with gr.Row():
            shares = [
                gr.Slider(0, 1, share, step=0.01, label=f"share of {name}", elem_id=f"share-{number}")
                for number, (name, share) in enumerate(zip(names[:-1], first.shares, strict=True))
            ]
            num_steps = gr.Slider(1, max(100, first.num_steps), first.num_steps, step=1, label="steps", elem_id="steps")
            num_images = gr.Slider(
                1, max(16, first.num_images), first.num_images, step=1, label="images", elem_id="images"
            )
        with gr.Row():
            samplers = list(files_of("sampler") if is_pair else SCHEDULERS)
            sampler = gr.Dropdown(
                samplers, value=first.sampler, label="solver", allow_custom_value=not is_pair, elem_id="sampler"
            )
            guidance = gr.Textbox(first.guidance, label="guidance scale", elem_id="guidance")
            seed = gr.Textbox(first.seed, label="seed", elem_id="seed")
        with gr.Row():
            routers = list(files_of("router"))
            router = gr.Dropdown(routers, value=first.router, label="router", visible=is_pair, elem_id="router")
            knobs = gr.Textbox(first.knobs, label="settings of the router", visible=is_pair, elem_id="knobs")
            per_step = gr.Textbox(
                first.per_step, label="denoiser of each step, in place of the share", elem_id="per-step",
                placeholder="such as 0,0,1,1, an index for each step",
            )  # fmt: skip
        with gr.Row():
            run = gr.Button("Sample", variant="primary", elem_id="run")
            stop = gr.Button("Cancel", elem_id="stop")
        status = gr.HTML(elem_id="status", min_height=24)
        with gr.Row():
            columns = []
            for title in (LARGE, STITCHED, SMALL):
                with gr.Column(min_width=260):
                    columns.append(gr.HTML(f"<h3>{title}</h3>"))
        command = gr.Code(
            label="copy as command", language="shell", interactive=False, lines=2, wrap_lines=True, elem_id="command"
        )

        # Columns of two wishes never stand side by side for longer than the work takes.
        empty = {command: "", **{column: column.value for column in columns}}

        def sample(values: dict, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Iterator[dict]:  # noqa: B008
            def watch(title: str, done: int, of: int) -> None:
                progress((done, of), desc=title, unit="steps")

            wish = replace(
                first,
                shares=tuple(values[share] for share in shares),
                per_step=values[per_step],
                router=values[router],
                knobs=values[knobs],
                num_steps=values[num_steps],
                sampler=values[sampler] or "",
                guidance=values[guidance],
                seed=values[seed],
                num_images=values[num_images],
                prompt=None if is_pair else values[prompt],
            )
            try:
                yield {status: ""}
                for column, picture in zip(columns, studio.show(wish, watch, request.session_hash), strict=True):
                    yield {column: show(picture)}
                    if picture.title == STITCHED:
                        yield {command: picture.command}
            except UserError as error:
                yield {status: f'<p class="error">{escape(str(error))}</p>', **empty}
            except CancelledError:
                yield {status: "<p>cancelled</p>", **empty}

        def cancel(request: gr.Request) -> None:
            studio.cancel(request.session_hash)

        fields = {*shares, num_steps, num_images, sampler, guidance, seed, router, knobs, per_step, prompt}
        outputs = [status, command, *columns]
        at_once = [window.load, *(own.release for own in (*shares, num_steps, num_images))] if is_pair else []
        gr.on(
            [run.click, *at_once], sample, fields, outputs, trigger_mode="always_last", concurrency_limit=1,
            show_progress_on=[status],
        )  # fmt: skip
        stop.click(cancel, concurrency_limit=None)
        router.input(lambda kind: default_knobs(kind, begin.pair), router, knobs)
    return window


def show(picture: Picture) -> str:
    """A column as HTML: the time, who took which step, and the images."""
    each = picture.seconds / len(picture.images)
    time = f'<p class="time">{picture.seconds:.2f} s, {1000 * each:.0f} ms for an image</p>'
    images = "".join(f'<img src="{data_url(image)}" alt="image {n}">' for n, image in enumerate(picture.images))
    return (
        f'<h3>{picture.title}</h3>{time}{_who(picture)}<div class="images">{images}</div>'
        f"<p>{escape(picture.description)}</p>"
    )


def _who(picture: Picture) -> str:
    """A bar of the steps by denoiser; where no allocation says it, how often the networks evaluated an image."""
    names = [escape(name) for name in picture.names]
    if picture.allocation is not None:
        runs = [(model, len(list(group))) for model, group in groupby(picture.allocation)]
        parts = (
            f'<span style="flex:{count};background:{COLOURS[model % len(COLOURS)]}" '
            f'title="{names[model]}: {count} steps">{count}</span>'
            for model, count in runs
        )
        return f'<div class="who">{"".join(parts)}</div>'
    if picture.evaluations is None:
        return ""
    low, high = picture.evaluations.min(axis=0), picture.evaluations.max(axis=0)
    shown = (
        f"{name} {few:g}{f' to {many:g}' if many != few else ''}"
        for name, few, many in zip(names, low, high, strict=True)
    )
    return f"<p>evaluations of an image: {', '.join(shown)}</p>"
