"""Every router at the ends of its knob is an allocation, bit for bit; mixing a model with itself changes nothing."""

import math

import pytest
import torch

from tests.tstitch.routers.gaussians import LARGE, SMALL, run
from tstitch.router import AllocationRouter, Ledger, Router
from tstitch.routers.held import HeldCorrectionRouter
from tstitch.routers.hybrid import HybridRouter
from tstitch.routers.latent_change import LatentChangeRouter
from tstitch.routers.mdd import MDDRouter
from tstitch.routers.ml_em import DRAWS, MLEMRouter
from tstitch.routers.probe import ProbeRouter
from tstitch.solvers.make import SAMPLERS

N = 12
ALL_SMALL, ALL_LARGE = (0,) * N, (1,) * N
LIMITS = {
    "probe never": (ProbeRouter(0, 1, math.inf, 3), ALL_SMALL),
    "probe at once": (ProbeRouter(0, 1, 0.0, 3, min_steps=4), (0,) * 4 + (1,) * 8),
    "probe back at once": (ProbeRouter(1, 0, math.inf, 3, min_steps=5), (1,) * 5 + (0,) * 7),
    "probe back never": (ProbeRouter(1, 0, 0.0, 2), ALL_LARGE),
    "latent change at once": (LatentChangeRouter(1, 0, math.inf, 5), (1,) * 5 + (0,) * 7),
    "latent change from small": (LatentChangeRouter(0, 1, math.inf, 0), ALL_LARGE),
    "latent change never": (LatentChangeRouter(0, 1, 0.0, 2), ALL_SMALL),
    "held at every step": (HeldCorrectionRouter(1), ALL_LARGE),
    "hybrid, everything": (HybridRouter(1, 3, 6, 1.0, 3, 1), (1,) * 9 + (0,) * 3),
    "hybrid, nothing": (HybridRouter(1, 3, 6, 0.0, 12, 1), (1,) * 4 + (0,) * 8),
    "hybrid from small": (HybridRouter(0, 4, 4, 1.0, 2, 1), (0,) * 4 + (1,) * 8),
    "mdd at every step": (MDDRouter(-1.0), ALL_LARGE),
    "ml-em, p = 1": (MLEMRouter((1.0,) * N), ALL_LARGE),
    "ml-em, p = 0": (MLEMRouter((0.0,) * N), ALL_SMALL),
    "ml-em, p = 0 and 1": (MLEMRouter((0.0,) * 4 + (1.0,) * 8, "bernoulli"), (0,) * 4 + (1,) * 8),
}


@pytest.mark.parametrize("solver", SAMPLERS)
@pytest.mark.parametrize("name", LIMITS)
def test_at_the_ends_of_its_knob_a_router_is_an_allocation(name: str, solver: str) -> None:
    router, allocation = LIMITS[name]
    assert torch.equal(run(router, solver=solver), run(AllocationRouter(allocation), solver=solver))


ROUTERS: list[Router] = [
    ProbeRouter(0, 1, 0.3, 2), LatentChangeRouter(1, 0, 0.05, 2), HeldCorrectionRouter(3), MDDRouter(0.01),
    HybridRouter(1, 3, 6, 0.4, 2, 1),
    *(MLEMRouter((0.4,) * N, draws) for draws in DRAWS),
]  # fmt: skip


@pytest.mark.parametrize("solver", SAMPLERS)
@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: type(router).__name__)
def test_mixing_a_model_with_itself_changes_nothing(router: Router, solver: str) -> None:
    wanted = run(AllocationRouter(ALL_LARGE), solver=solver)
    torch.testing.assert_close(run(router, solver=solver, models=(LARGE, LARGE)), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: type(router).__name__)
def test_images_decide_for_themselves_whatever_their_batch(router: Router) -> None:
    """These denoisers compute each image by itself, so that not one bit may depend on the others."""
    together, ledger = Ledger(), Ledger()
    whole = run(router, num_images=6, ledger=together)
    alone = torch.cat([run(router, num_images=1, first=index, ledger=ledger) for index in range(6)])
    assert torch.equal(whole, alone)
    assert together.evaluations == ledger.evaluations, "the evaluations of six images alone are those of six together"
    halves = [Ledger(), Ledger()]
    for half, own in enumerate(halves):
        run(router, num_images=3, first=3 * half, ledger=own)
    for name, values in together.decisions.items():
        assert len(values) == 6
        assert torch.equal(values, torch.cat([own.decisions[name] for own in halves]))


@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: type(router).__name__)
def test_what_is_mixed_is_neither_of_the_two(router: Router) -> None:
    ends = [run(AllocationRouter(allocation)) for allocation in (ALL_SMALL, ALL_LARGE)]
    mixed = run(router)
    assert mixed.isfinite().all()
    assert not any(torch.equal(mixed, end) for end in ends)


def test_identities_tell_routers_apart() -> None:
    own = [str(router.identity()) for router in (*ROUTERS, *(router for router, _ in LIMITS.values()))]
    assert len(set(own)) == len(own)
    assert SMALL != LARGE
