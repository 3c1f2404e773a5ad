"""DiT's objective, the hybrid one of improved DDPM (Nichol & Dhariwal 2021, section 3.1), plus min-SNR weights."""

from collections.abc import Callable

import torch
from torch import Tensor

from tstitch.schedule import NoiseSchedule

SNR_FLOOR = 0.01
ALL = slice(None)


class DiffusionObjective:
    """`min(SNR, gamma)/SNR * |eps - eps_hat|^2 + L_vlb`, where the gradient of L_vlb reaches only the variance.

    Args:
        schedule: the noise schedule.
        snr_gamma: cap of the min-SNR weight (Hang et al. 2023); None weighs all timesteps alike.
        high_noise_weight: w in a further factor `1 + w / max(SNR, SNR_FLOOR)`. The error of eps shrinks
            with the SNR, so without it the noisy timesteps hardly count; at w = 1 they count as in
            v-prediction, down to the floor.
        timesteps: the first that is trained and the one after the last (T-Stitch, table 6); None trains all.
        variational_weight: factor of L_vlb in nats; 1 / ln 2 is DiT's own, which counts bits.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        snr_gamma: float | None,
        high_noise_weight: float = 0.0,
        timesteps: tuple[int, int] | None = None,
        variational_weight: float = 1.0,
    ):
        alphas_cumprod = torch.from_numpy(schedule.alphas_cumprod)
        previous = torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod[:-1]])
        betas = 1 - alphas_cumprod / previous
        posterior = betas * (1 - previous) / (1 - alphas_cumprod)
        posterior[0] = posterior[1]
        snr = alphas_cumprod / (1 - alphas_cumprod)
        weight = torch.ones_like(snr) if snr_gamma is None else snr.clamp(max=snr_gamma) / snr
        weight = weight * (1 + high_noise_weight / snr.clamp(min=SNR_FLOOR))
        self.timesteps = (0, len(alphas_cumprod)) if timesteps is None else timesteps
        self.signal, self.sigma = alphas_cumprod.sqrt().float(), (1 - alphas_cumprod).sqrt().float()
        self.log_beta, self.log_posterior = betas.log().float(), posterior.log().float()
        self.mean_per_eps = (betas / ((1 - alphas_cumprod).sqrt() * (1 - betas).sqrt())).float()
        self.weight, self.variational_weight = weight.float(), variational_weight

    def to(self, device: torch.device) -> "DiffusionObjective":
        """Move the tables to a device."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self

    def __call__(
        self,
        denoiser: Callable[[Tensor, Tensor], Tensor],
        latents: Tensor,
        generator: torch.Generator,
        share: slice = ALL,
    ) -> Tensor:
        """Compute the scalar loss of the `share` of `latents` (N, C, H, W) at uniformly drawn timesteps.

        A denoiser with C output channels predicts eps alone, and has no variational term. What is drawn is drawn for
        all N, whatever the share.
        """
        noisy, t, noise = self.add_noise(latents, generator, share)
        eps, *raw_variance = denoiser(noisy, t).float().split(latents.shape[1], dim=1)
        squared_error = (noise - eps).square()
        simple = (self.weight[t] * squared_error.mean(dim=(1, 2, 3))).mean()
        if not raw_variance:
            return simple
        bound = self._variational_bound(squared_error.detach(), raw_variance[0], t).mean()
        return simple + self.variational_weight * bound

    def add_noise(
        self, latents: Tensor, generator: torch.Generator, share: slice = ALL
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw timesteps and noise for latents (N, C, H, W): the `share` of noisy latents, timesteps (N,) and noise."""
        device = latents.device
        t = torch.randint(*self.timesteps, (len(latents),), generator=generator, device=device)[share]
        noise = torch.randn(latents.shape, generator=generator, device=device)[share]
        return _at(self.signal, t) * latents[share] + _at(self.sigma, t) * noise, t, noise

    def _variational_bound(self, squared_error: Tensor, raw_variance: Tensor, t: Tensor) -> Tensor:
        """Compute the KL of the true posterior from the learned-range Gaussian, in nats per dimension.

        The two means differ only through eps, by `mean_per_eps * (eps - eps_hat)`. At t = 0 the term
        is the same expression, which stands in for the decoder likelihood that pixels would have.
        """
        share = (raw_variance + 1) / 2
        log_variance = share * _at(self.log_beta, t) + (1 - share) * _at(self.log_posterior, t)
        log_true = _at(self.log_posterior, t)
        squared_mean_error = _at(self.mean_per_eps, t).square() * squared_error
        return 0.5 * (
            log_variance - log_true - 1 + (log_true - log_variance).exp() + squared_mean_error / log_variance.exp()
        )


def _at(values: Tensor, t: Tensor) -> Tensor:
    return values[t].view(-1, 1, 1, 1)
