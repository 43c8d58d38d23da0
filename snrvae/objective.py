"""What training minimises beside the squared error: E KL, and the latents' distance from N(0, I)."""

import torch
from torch import Tensor

from snrvae.params import ROW


def kl_nats(mean: Tensor, log_noise_power: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)) per point in nats, [c, b], from μ [c, d, b] and ln σ² (broadcast).

    ½ Σ_d (μ² + σ² - 1 - ln σ²): Kingma & Welling, ICLR 2014, appendix B.
    """
    excess = torch.expm1(log_noise_power) - log_noise_power  # σ² - 1 - ln σ², exact near σ = 1
    return (mean.square() + excess).sum(1) / 2


def gaussianity(z: Tensor, label: Tensor | None = None, space: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Distance T [c] of the law of latents z [c, d, b] from N(0, I), and dT/dz [c, d, b].

    T = ∫ |φ(t) - e^{-|t|²/2}|² N(t; 0, I) dt, φ the characteristic function of z (Baringhaus & Henze,
    Metrika 1988). With the kernel k(z, z′) = e^{-|z - z′|²/2} that is E k(z, z′) - 2·2^{-d/2}·E e^{-|z|²/4}
    + 3^{-d/2}. E k is the mean over pairs of different points, so that T is estimated without bias: with its
    bias of (1 - E k)/b a batch pulls the latents together.

    label  where points have one, each equally often: one-hot [c, l, b]. T is then the mean over labels of
           that of their points, for latents that are N(0, I) taken together need not be so for each label.
    space  where the pairs' kernel is put, from `pairs`: memory that is made anew at every step costs more
           than what is reckoned in it
    """
    cells, dims, batch = z.shape
    groups = batch // _group(batch)
    if groups > 1:  # pairs are as many as points squared: some of them do
        parts = gaussianity(_grouped(z, groups), None if label is None else _grouped(label, groups), space)
        value, gradient = (part.view(cells, groups, *part.shape[1:]) for part in parts)
        return value.mean(1), gradient.transpose(1, 2).reshape(z.shape) / groups
    square = (z * z).sum(1, keepdim=True)  # [c, 1, b]
    # of the exponent z·z′ - (|z|² + |z′|²)/2
    kernel = torch.add(square, square.mT, out=space).baddbmm_(z.mT, z, beta=-0.5).exp_()
    to_normal = torch.exp(square * -0.25)
    count: float = batch * (batch - 1)  # of pairs, on average
    weight, rest = 2 ** (-dims / 2), 3 ** (-dims / 2)
    offset: Tensor | float
    if label is None:
        weight, offset = weight * (batch - 1), rest * count - batch
    else:
        same = torch.bmm(label.mT, label)
        kernel *= same
        others = same.sum(1, keepdim=True).sub_(1)  # points that a point makes pairs with
        to_normal *= others
        count, offset = count / label.shape[1], others.sum((1, 2)).mul_(rest).sub_(batch)
    near = kernel.sum(1, keepdim=True)  # with the point itself, 1
    excess = torch.sub(near, to_normal, alpha=2 * weight).sum((1, 2))
    value = excess.add_(offset).div_(count)
    outwards = torch.sub(near, to_normal, alpha=weight / 2)
    return value, (z * outwards).baddbmm_(z, kernel, beta=-2 / count, alpha=2 / count)


def pairs(cells: int, batch: int, like: Tensor) -> Tensor:
    """Space for the pairs of points that `gaussianity` compares."""
    group = _group(batch)
    return like.new_empty(cells * batch // group, group, group)


def _group(batch: int) -> int:
    """The largest multiple of ROW, at most 128, that divides a batch."""
    return max(size for size in range(ROW, 129, ROW) if batch % size == 0)


def _grouped(z: Tensor, groups: int) -> Tensor:
    """Latents [c, d, b] as [c·groups, d, b / groups]."""
    cells, dims, batch = z.shape
    return z.view(cells, dims, groups, -1).transpose(1, 2).reshape(-1, dims, batch // groups)
