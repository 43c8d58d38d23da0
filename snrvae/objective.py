"""What training minimises beside the squared error: E KL, and the latents' distance from N(0, I)."""

import torch
from torch import Tensor


def kl_nats(mean: Tensor, log_noise_power: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)) per point in nats, [c, b], from μ [c, d, b] and ln σ² (broadcast).

    ½ Σ_d (μ² + σ² - 1 - ln σ²): Kingma & Welling, ICLR 2014, appendix B.
    """
    excess = torch.expm1(log_noise_power) - log_noise_power  # σ² - 1 - ln σ², exact near σ = 1
    return (mean.square() + excess).sum(1) / 2


class Gaussianity:
    """Distance of the latents' law from N(0, I) along random directions, with its gradient.

    T = mean over directions of Σ_t w(t)·|φ̂(t) - e^{-t²/2}|²·Δt, w(t) = e^{-t²/2}, where φ̂ is the
    empirical characteristic function of z's projection: the statistic of Epps & Pulley, Biometrika
    1983, as a penalty (SIGReg, arXiv:2511.08544). The gradient shares the sines with the value.
    """

    STEP = 0.6
    FREQUENCIES = 7  # t = 0.3, 0.9, …, 3.9

    def __init__(self, cells: int, directions: int, batch: int, like: Tensor):
        t = (torch.arange(self.FREQUENCIES) * self.STEP + self.STEP / 2).to(like)
        self._t = t.view(-1, 1)  # [t, 1]
        self._target = torch.exp(-(self._t**2) / 2)
        self._weight = self._target * self.STEP / directions
        self._cos = like.new_empty(cells, directions, self.FREQUENCIES, batch)
        self._sin = torch.empty_like(self._cos)

    def __call__(self, z: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """T [c] of latents z [c, d, b] along unit directions [m, d], and dT/dz [c, d, b]."""
        projection = torch.matmul(directions, z)  # [c, m, b]
        angle = torch.mul(projection.unsqueeze(2), self._t, out=self._sin)  # [c, m, t, b]
        cos, sin = torch.cos(angle, out=self._cos), torch.sin_(angle)
        real = cos.mean(3, keepdim=True) - self._target
        imaginary = sin.mean(3, keepdim=True)
        value = (self._weight * (real.square() + imaginary.square())).sum((1, 2, 3))
        slope = self._weight * self._t * (2 / z.shape[2])
        cos.mul_(imaginary * slope).sub_(sin.mul_(real * slope))
        return value, torch.matmul(directions.T, cos.sum(2))
