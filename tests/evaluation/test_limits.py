"""The rate of the device in matrix products, in the precision that networks multiply in."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

import evaluation.speed.limits
from evaluation.speed.limits import matmul_tflops
from models.placement.precision import products

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


class Allowed(TorchFunctionMode):
    """Whether TF32 was allowed at each matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bool] = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if "matmul" in getattr(func, "__name__", ""):
            self.seen.add(torch.backends.cuda.matmul.allow_tf32)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("precision", "allowed"), [("tf32", True), ("float32", False)])
def test_the_rate_is_measured_as_networks_multiply(monkeypatch, precision: str, allowed: bool) -> None:
    monkeypatch.setattr(evaluation.speed.limits, "SIDES", {"cpu": 64})
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = not allowed
        with Allowed() as at_each_product:
            assert matmul_tflops(torch.float32, CPU, products(precision, CUDA)) > 0
        assert at_each_product.seen == {allowed}
        assert torch.backends.cuda.matmul.allow_tf32 is not allowed, "the process's setting is as before"
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.gpu
def test_tf32_is_faster_than_float32_where_the_gpu_has_it() -> None:
    if torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("TF32 came with compute capability 8")
    rates = {name: matmul_tflops(torch.float32, CUDA, products(name, CUDA)) for name in ("float32", "tf32")}
    assert rates["tf32"] > 2 * rates["float32"]
