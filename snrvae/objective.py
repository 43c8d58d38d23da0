"""What training minimises beside the squared error: E KL, and the latents' distance from N(0, I)."""

import math

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

    T = mean over directions of Σ_t w(t)·|φ(t) - e^{-t²/2}|²·Δt, w(t) = e^{-t²/2}, where φ is the
    characteristic function of z's projection: the statistic of Epps & Pulley, Biometrika 1983, as a
    penalty (SIGReg, arXiv:2511.08544). |φ|² is estimated without bias, from pairs of different points:
    with its bias of (1 - |φ|²)/b a batch pulls the latents together. The gradient shares the waves with
    the value.

    Where points have labels, equally often, T is the mean over labels of that of their points: latents that
    are N(0, I) taken together need not be so for each label. Pairs are then of points with one label.
    """

    STEP = 0.6
    FREQUENCIES = 7  # t = 0.3, 0.9, …, 3.9

    def __init__(self, cells: int, directions: int, batch: int, like: Tensor):
        t = (torch.arange(self.FREQUENCIES) * self.STEP + self.STEP / 2).to(like)
        target = torch.exp(-(t**2) / 2)
        weight = target * self.STEP / directions
        slope = weight * t * (2 / batch)
        # a row for each real part, cos(tu), then one for each imaginary part, sin(tu) = cos(tu - π/2)
        self._t = torch.cat([t, t]).unsqueeze(1)
        self._phase = torch.cat([t * 0, t * 0 - math.pi / 2]).unsqueeze(1)
        self._target = torch.cat([target, t * 0])
        self._rest = torch.cat([target**2, t * 0]) - 1 / (2 * (batch - 1))
        self._weight = torch.cat([weight, weight])
        self._slope = torch.cat([-slope, slope])
        self._waves = like.new_empty(cells * directions, 2 * self.FREQUENCIES, batch)

    def __call__(self, z: Tensor, directions: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """T [c] of latents z [c, d, b] along unit directions [m, d], and dT/dz [c, d, b].

        label  where points have one: one-hot [c, l, b]
        """
        cells, _, batch = z.shape
        projection = torch.matmul(directions, z).view(-1, 1, batch)  # [c·m, 1, b]
        waves = torch.addcmul(self._phase, self._t, projection, out=self._waves).cos_()
        if label is not None:
            return self._labelled(waves, directions, label)
        mean = waves.mean(2)
        pairs = mean * (batch / (batch - 1))  # of |φ̂|², b² pairs of which b are a point with itself
        value = ((mean * (pairs - 2 * self._target) + self._rest) * self._weight).view(cells, -1).sum(1)
        # the derivative of a cosine is its sine, and the other way round
        slope = (pairs - self._target) * self._slope
        pull = torch.bmm(slope.roll(self.FREQUENCIES, 1).unsqueeze(1), waves)
        return value, torch.matmul(directions.T, pull.view(cells, -1, batch))

    def _labelled(self, waves: Tensor, directions: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        cells, labels, batch = label.shape
        each = cells, len(directions), 2 * self.FREQUENCIES
        pairs = batch * (batch - 1) / labels  # that have one label, in the mean; then the mean over labels
        # Σ (e^{itu} - e^{-t²/2}) over the points of each label, squared, without each point by itself
        total = torch.bmm(waves.view(cells, -1, batch), label.mT).view(*each, labels)
        target = self._target.unsqueeze(1)
        off = total.addcmul_(target, label.sum(2).view(cells, 1, 1, labels), value=-1)
        alone = waves.sum(2).view(each) * (-2 * self._target) + (batch * (self._target**2 + 1 / 2))
        value = ((off.square().sum(3) - alone) * (self._weight / pairs)).sum((1, 2))
        slope = (off + target) * (self._slope * (batch / pairs)).unsqueeze(1)
        pull = torch.bmm(slope.roll(self.FREQUENCIES, 2).flatten(0, 1).mT, waves)
        pull = pull.view(cells, -1, labels, batch).mul_(label.unsqueeze(1)).sum(2)
        return value, torch.matmul(directions.T, pull)
