"""The loss that every engine minimises, and its terms.

    mse + kl_weight · E KL + gaussianity_weight · T + mmd_weight · MMD² + pull_weight · E|μ − target|²

The weights come from the schedule that all engines share (snrvae/training/schedule.py). Points are [n, k],
latents [n, d], labels one-hot [n, l].
"""

from typing import NamedTuple

import torch
from torch import Tensor

from snrvae.codecs.channels import Latents
from snrvae.codecs.codec import Transmission

ROW = 16  # float32 in the widest vector register; a batch is a multiple of it
GROUP = 128  # points whose latents T compares with each other: pairs grow with the square of a batch


class Weights(NamedTuple):
    """Weights of the terms other than the mse: numbers, or tensors of one element."""

    kl: float | Tensor = 0.0
    gaussianity: float | Tensor = 0.0
    mmd: float = 0.0
    pull: float | Tensor = 0.0


class Losses(NamedTuple):
    """The losses that training records: mse, E KL in nats and T; without noise there are no KL and T."""

    mse: Tensor
    kl_nats: Tensor
    gaussianity: Tensor


def loss(
    sent: Transmission,
    x: Tensor,
    noise: Tensor,
    weights: Weights,
    label: Tensor | None = None,
    target: Tensor | None = None,
    shares: Tensor | None = None,
) -> tuple[Tensor, Losses]:
    """The loss of a batch x [n, k] that a codec transmitted with ε = noise [n, d], and its terms.

    target  latents [n, d] to which the means are pulled, if they are
    shares  the labels' shares of the points [l], if they are not equal
    """
    zero = x.new_zeros(())
    noisy = sent.latents.log_noise_power is not None
    found = Losses(
        mse(x, sent.reconstruction),
        kl_nats(sent.latents).mean() if noisy else zero,
        gaussianity(sent.z, label, shares) if noisy else zero,
    )
    total = (
        found.mse
        + weights.kl * found.kl_nats
        + weights.gaussianity * found.gaussianity
        + (weights.mmd * mmd(sent.z, noise) if weights.mmd else zero)
        + (weights.pull * pull(sent.latents.mean, target) if target is not None else zero)
    )
    return total, found


def mse(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean over points and coordinates of (x − x̂)²."""
    return (reconstruction - x).square().mean()


def kl_nats(latents: Latents) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)) of each point in nats [n] (Kingma & Welling, ICLR 2014, appendix B).

    ½ Σ_d (μ² + σ² − 1 − ln σ²)
    """
    assert latents.log_noise_power is not None
    log_power = latents.log_noise_power
    excess = torch.expm1(log_power) - log_power  # σ² − 1 − ln σ², exact near σ = 1
    return (latents.mean.square() + excess).sum(1) / 2


def gaussianity(z: Tensor, label: Tensor | None = None, shares: Tensor | None = None) -> Tensor:
    """T: an unbiased estimate of the distance between the distribution of latents z [n, d] and N(0, I).

    T = ∫ |φ(t) − e^{−|t|²/2}|² N(t; 0, I) dt for the characteristic function φ of z: the BHEP statistic
    (Baringhaus & Henze, Metrika 1988). With the kernel k(z, z′) = e^{−|z − z′|²/2} it is a squared maximum
    mean discrepancy to N(0, I) in closed form, E k(z, z′) − 2·2^{−d/2} E e^{−|z|²/4} + 3^{−d/2}. E k is the
    mean over pairs of different points; a batch is compared in groups of at most 128.

    With labels [n, l], T is computed within each label and averaged by the labels' shares [l] of the points;
    without `shares`, they are equal. A fraction w² of a batch's pairs lies within a label of share w, so each
    of these pairs has the weight 1/w.
    """
    size, dims = group_size(len(z)), z.shape[1]
    groups = z.reshape(-1, size, dims)  # [g, m, d]
    square = groups.square().sum(2)
    kernel = torch.exp(groups @ groups.mT - (square.unsqueeze(2) + square.unsqueeze(1)) / 2)  # [g, m, m]
    others = z.new_full((), size - 1)  # other points of the same label
    itself, classes = z.new_full((), size), 1  # a point's kernel with itself is 1
    if label is not None:
        own, classes = label.reshape(-1, size, label.shape[1]), label.shape[1]
        same = own @ own.mT
        rarity = own @ (own.new_ones(classes) if shares is None else 1 / (classes * shares))  # [g, m]
        kernel, others = kernel * same * rarity.unsqueeze(2), (same.sum(2) - 1) * rarity
        itself = rarity.sum(1).mean()
    within = kernel.sum((1, 2)).mean() - itself
    across = (others * torch.exp(-square / 4)).sum(1).mean()
    expected = others.expand_as(square).sum(1).mean()
    pairs = size * (size - 1) / classes  # on average
    return (within - 2 * 2 ** (-dims / 2) * across + 3 ** (-dims / 2) * expected) / pairs


def group_size(batch: int) -> int:
    """How many latents T compares at once: the largest multiple of ROW that divides the batch, or all."""
    return max((size for size in range(ROW, GROUP + 1, ROW) if batch % size == 0), default=batch)


def mmd(z: Tensor, prior: Tensor) -> Tensor:
    """An unbiased estimate of MMD² between latents z [n, d] and N(0, I): the penalty of a WAE-MMD.

    The kernel is inverse multiquadratic, C / (C + |z − z′|²) with C = 2d (Tolstikhin et al., ICLR 2018,
    section 4). `prior` [n, d] is drawn from N(0, I); the channel's noise may serve, since no point
    is compared with its own noise.
    """
    count, dims = z.shape

    def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
        square = (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(2)  # [n, n]
        kernel = 2 * dims / (2 * dims + square)
        return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))

    return mean_kernel(z, z) + mean_kernel(prior, prior) - 2 * mean_kernel(z, prior)


def pull(mean: Tensor, target: Tensor) -> Tensor:
    """E|μ − target|² of latent means [n, d]: it pulls them to a folded start (training/folding.py)."""
    return (mean - target).square().sum(1).mean()
