"""Every way to move or cast a stitched denoiser keeps `residency="swap"`: only the one at work leaves the host."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.pipelines.families import FAMILIES, run, unet
from tstitch import stitch

SD = FAMILIES["sd"]
pytestmark = pytest.mark.filterwarnings("ignore:residency='swap' has no effect on a CPU")
MOVES = {
    "to": lambda network, device: network.to(device),
    "to with a dtype": lambda network, device: network.to(device, torch.float16),
    "to as another tensor": lambda network, device: network.to(torch.empty(1, device=device)),
    "cuda": lambda network, device: network.cuda(),
    "a layer's way": lambda network, device: network._apply(lambda tensor: tensor.to(device)),
}


def places(stitched: nn.Module) -> list[set[str]]:
    """The devices of each denoiser's tensors."""
    return [{value.device.type for value in denoiser.state_dict().values()} for denoiser in stitched.denoisers]


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_move_takes_the_denoiser_at_work_alone(monkeypatch, move: Callable) -> None:
    """The device that holds no values stands for a GPU; `Tensor.cuda` moves there too."""
    monkeypatch.setattr(Tensor, "cuda", lambda tensor, *_, **__: tensor.to("meta"))
    stitched = stitch(SD.build(), unet("small"), fraction=0.4, residency="swap")
    move(stitched, torch.device("meta"))
    assert places(stitched) == [{"meta"}, {"cpu"}]
    assert stitched.device.type == "meta"


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double"])
def test_a_cast_reaches_all_denoisers_where_they_are(cast: str) -> None:
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4, residency="swap")
    plain = run(SD, pipe)
    getattr(stitched, cast)()
    dtypes = {parameter.dtype for denoiser in stitched.denoisers for parameter in denoiser.parameters()}
    assert dtypes == {{"half": torch.float16, "bfloat16": torch.bfloat16, "double": torch.float64}[cast]}
    assert places(stitched) == [{"cpu"}, {"cpu"}]
    if cast == "double":
        stitched.float()
        assert torch.equal(run(SD, pipe), plain)


@pytest.mark.gpu
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_on_a_gpu_one_denoiser_is_there(move: Callable) -> None:
    stitched = stitch(SD.build(), unet("small"), fraction=0.4, residency="swap")
    move(stitched, torch.device("cuda"))
    assert places(stitched) == [{"cuda"}, {"cpu"}]
