"""Other models beside ours: their losses are those of their papers, and they learn what they are asked to."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from benchmarks import models
from snrvae.codecs import search
from snrvae.codecs.codec import Latents
from snrvae.limit.rate_distortion import Tangents
from snrvae.measurement import generation
from snrvae.settings import params
from snrvae.settings.params import Params
from snrvae.sources import cube
from snrvae.sources.source import Split

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
def found(settings: Params, splits: dict[str, Split], lines: Tangents) -> list[dict[str, float]]:
    return list(models.rows(settings, splits, lines))


def test_mmd_is_the_sum_over_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    z, prior = (torch.randn(1, 2, 5, generator=generator) for _ in range(2))

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return 4 / (4 + float((a - b).square().sum()))

    pairs = [(i, j) for i in range(5) for j in range(5)]
    own = sum(kernel(s[0, :, i], s[0, :, j]) for s in (z, prior) for i, j in pairs if i != j) / 20
    across = sum(kernel(z[0, :, i], prior[0, :, j]) for i, j in pairs) / 25
    assert float(models.mmd(z, prior)) == pytest.approx(own - 2 * across, abs=1e-6)


def test_mmd_of_the_prior_is_zero_on_average_and_grows_with_the_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    z, prior = (torch.randn(2000, 2, 64, generator=generator) for _ in range(2))
    values = models.mmd(z, prior)
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(2000)
    assert 0.01 < float(models.mmd(1.5 * z, prior).mean()) < float(models.mmd(z + 2, prior).mean())


def test_the_loss_of_a_beta_vae_is_its_weighted_kl() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = (torch.randn(2, 3, 8, generator=generator) for _ in range(2))
    found = models.losses("β-VAE", Latents(mean, log_variance), torch.zeros(()), torch.tensor([0.5, 2.0]))
    kl = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1).mean(1)
    assert found.tolist() == pytest.approx([0.5 * float(kl[0]), 2 * float(kl[1])], rel=1e-4)


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


def test_a_model_is_measured_as_a_codec_is(
    settings: Params, splits: dict[str, Split], lines: Tangents
) -> None:
    reference = generation.reference(cube.SOURCE, splits["test"].points, np.random.default_rng(0))
    points = torch.from_numpy(splits["train"].points)
    model = models.train("WAE-MMD", 2, points, settings).select(0)
    row = models.measure(model, splits, reference, lines, 0)
    x = torch.from_numpy(splits["test"].points)
    away = search.AWAY * torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)])
    with torch.no_grad():
        tried = [model.decoder(model.encoder((x + step).T.unsqueeze(0)))[0].T.clamp(0, 1) for step in away]
    error = torch.stack([(decoded - x).square().mean(1) for decoded in tried]).min(0).values.mean()
    assert row["mse"] == pytest.approx(float(error), rel=1e-5)
    assert row["kl_bits"] is None
    assert math.isnan(row["gap_db"])
