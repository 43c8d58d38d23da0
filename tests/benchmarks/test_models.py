"""Other models beside ours: their losses are those of their papers, and they learn what they are asked to."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import reference_of
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from benchmarks import models
from benchmarks.models import MODELS, Model
from snrvae.codecs.channels import Latents
from snrvae.codecs.codec import Transmission
from snrvae.codecs.losses import Weights, loss, mmd
from snrvae.limit.shannon import RateDistortionTable
from snrvae.settings import params
from snrvae.settings.params import Params
from snrvae.sources import cube
from snrvae.sources.domain import Split

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def settings() -> Params:
    """The committed ones, with small networks and few steps."""
    committed = params.from_yaml((ROOT / "params.yaml").read_text())
    return committed.model_copy(
        update={
            "latent_dim": (2,),
            "network": committed.network.model_copy(update={"hidden_units": 32, "hidden_layers": 2}),
            "train": committed.train.model_copy(update={"steps": 200, "learning_rate": 0.01}),
        }
    )


@pytest.fixture(scope="module")
def found(settings: Params, splits: dict[str, Split], limits: RateDistortionTable) -> list[dict[str, float]]:
    return list(models.rows(settings, splits, limits))


def _loss(
    model: Model, value: float, settings: Params, sent: Transmission, x: Tensor, noise: Tensor
) -> float:
    """What the engine minimises for a model on a batch."""
    train = model.config(value, settings).train
    weights = Weights(train.kl_weight, train.gaussianity_weight, train.mmd_weight)
    return float(loss(sent, x, noise, weights)[0])


def test_the_loss_of_a_beta_vae_is_the_mse_and_its_weighted_kl(settings: Params) -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_variance, x, decoded = (torch.randn(16, 3, generator=generator) for _ in range(4))
    sent = Transmission(Latents(mean, log_variance), mean, decoded)
    kl = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
    expected = float((decoded - x).square().mean() + 0.5 * kl)
    assert _loss(MODELS[0], 0.5, settings, sent, x, mean) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_a_wae_is_the_mse_and_its_weighted_mmd(settings: Params) -> None:
    generator = torch.Generator().manual_seed(0)
    z, noise, x, decoded = (torch.randn(16, 3, generator=generator) for _ in range(4))
    sent = Transmission(Latents(z, None), z, decoded)
    expected = float((decoded - x).square().mean() + 0.5 * mmd(z, noise))
    assert _loss(MODELS[1], 0.5, settings, sent, x, noise) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_every_kind_learns_and_a_heavier_weight_brings_latents_nearer_to_the_prior(
    found: list[dict[str, float]],
) -> None:
    assert [row["model"] for row in found] == ["β-VAE"] * 3 + ["WAE-MMD"] * 3
    heavy, *_, light = found[:3]
    assert light["kl_bits"] > heavy["kl_bits"] > 0
    assert light["gap_db"] > 0 < heavy["gap_db"]
    assert max(row["mse"] for row in found) < 0.5 * cube.SOURCE.variance
    light, *_, heavy = found[3:]
    assert heavy["latent_kl_bits"] < light["latent_kl_bits"]


@pytest.mark.slow
def test_the_table_has_a_line_for_every_model_in_its_order(
    found: list[dict[str, float]], settings: Params
) -> None:
    text = models.markdown(found[::-1], settings)
    lines = [line for line in text.splitlines() if line.startswith("| 2 |")]
    assert [line.split(" | ")[1] for line in lines[:1] + lines[-1:]] == [
        "β-VAE β = 0.0001",
        "WAE-MMD λ = 0.01",
    ]
    assert "nan" not in text


@pytest.mark.slow
def test_a_model_is_measured_as_a_codec_is(
    settings: Params, splits: dict[str, Split], limits: RateDistortionTable
) -> None:
    reference = reference_of(cube.SOURCE, splits["test"])
    codecs = models.train(MODELS[1], 1e-2, 2, splits["train"].points, settings)
    row = models.measure(codecs, splits, reference, limits, 0)

    def error(split: Split, encoder: torch.nn.Module, decoder: torch.nn.Module) -> float:
        x = torch.from_numpy(split.points)
        return float((decoder(encoder(x)).clamp(0, 1) - x).square().mean())

    validation = [error(splits["validation"], codec.encoder, codec.decoder) for codec in codecs]
    best = codecs[int(np.argmin(validation))]
    assert row["validation_mse"] == pytest.approx(min(validation), rel=1e-5)
    assert row["mse"] == pytest.approx(error(splits["test"], best.encoder, best.decoder), rel=1e-5)
    assert row["kl_bits"] is None
    assert row["gap_db"] is None


@pytest.mark.slow
def test_the_gap_of_a_beta_vae_is_to_the_limit_at_its_own_kl(
    found: list[dict[str, float]], limits: RateDistortionTable
) -> None:
    for row in found[:3]:
        least = float(models.shannon.distortion_at_rate(limits.tangents, row["kl_bits"])) / 3
        assert row["shannon_mse"] == pytest.approx(least)
        assert row["gap_db"] == pytest.approx(10 * math.log10(row["mse"] / least))
        assert row["capacity_bits"] is None
