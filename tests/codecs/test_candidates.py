"""What an encoder sends: of the candidates that its network offers, the one that decodes best."""

import numpy as np
import pytest
import torch
from conftest import MakeConfig
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snrvae.codecs import candidates
from snrvae.codecs.codec import Architecture, Codec
from snrvae.settings.grid import Cell
from snrvae.settings.params import Network
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import cube, gaussian, square
from snrvae.sources.domain import Split
from snrvae.training.compiled import engine

COUNT = 5


def untrained(noise: str, snr: float | None, labels: int = 0, seed: int = 0, count: int = COUNT) -> Codec:
    """A codec as training starts with it, for points of the cube."""
    network = Network(kind="mlp", activation="relu", hidden_units=16, hidden_layers=2)
    cell, domain = Cell(noise, 2, snr, 0), cube.SOURCE.domain
    codec = Codec(Architecture(cell, network, labels, domain, "compiled", candidates=count))
    for place, (net, width) in enumerate(((codec.encoder, 3 + labels), (codec.decoder, 2 + labels))):
        seen = torch.from_numpy(np.random.default_rng(0).random((width, 256), np.float32)).T
        net.initialise(seen, numpy_stream(seed + place, "candidates"))
    return codec.eval().requires_grad_(False)


@pytest.mark.parametrize(("noise", "snr"), [("none", None), ("isotropic", 30.0), ("learned", 300.0)])
@pytest.mark.parametrize("labels", [0, 6])
@given(seed=st.integers(0, 2**20))
def test_what_is_sent_costs_least_in_error_and_power(
    noise: str, snr: float | None, labels: int, seed: int
) -> None:
    """Against a loop over candidates, by the rule as the documentation has it."""
    codec = untrained(noise, snr, labels, seed)
    points = torch.from_numpy(cube.SOURCE.split(60, numpy_stream(seed, "points")).points)
    label = torch.eye(6).repeat(10, 1) if labels else None
    offers = codec.encoder(points if label is None else torch.cat([points, label], 1))
    outputs = 4 if noise == "learned" else 2
    price = 0 if snr is None else 2 * (2 / 12 if labels else 3 * 5 / 36) / (1 + snr) / 2
    sent = [offers[:, first : first + 2] for first in range(0, COUNT * outputs, outputs)]
    errors = [(codec.decode(z, label) - points).square().sum(1) for z in sent]
    costs = [error + price * z.square().sum(1) for error, z in zip(errors, sent, strict=True)]
    (best, second, *_), order = torch.stack(costs).sort(dim=0)
    expected = torch.stack(sent)[order[0], torch.arange(60)]
    clear = second - best > 1e-5  # else rounding decides
    assert clear.any()
    assert torch.equal(codec.encode(points, label).mean[clear], expected[clear])


def test_learned_noise_comes_with_the_candidate_that_is_sent() -> None:
    codec = untrained("learned", 300.0, seed=3)
    points = torch.from_numpy(cube.SOURCE.split(600, numpy_stream(3, "points")).points)
    latents, offers = codec.encode(points), codec.encoder(points).unflatten(1, (COUNT, 4))
    assert latents.log_noise_power is not None
    chosen = (offers[..., :2] == latents.mean.unsqueeze(1)).all(2).int().argmax(1)
    assert len(chosen.unique()) > 1
    head = latents.log_noise_power + np.log(300.0)  # signal power is 1, ln E exp(v) 0
    assert torch.allclose(head, offers[torch.arange(600), chosen, 2:], atol=1e-5)


def test_a_codec_that_does_not_choose_sends_the_first() -> None:
    codec = untrained("isotropic", 100.0)
    points = torch.from_numpy(cube.SOURCE.split(60, numpy_stream(0, "points")).points)
    first = codec.encoder(points)[:, :2]
    assert not torch.equal(codec.encode(points).mean, first)
    codec.choosing = False
    assert torch.equal(codec.encode(points).mean, first)


def test_gradients_flow_through_what_is_sent_alone() -> None:
    codec = untrained("none", None).requires_grad_(True)
    point = torch.from_numpy(cube.SOURCE.split(6, numpy_stream(1, "points")).points)[:1]
    sent = codec.encode(point).mean
    (gradient,) = torch.autograd.grad(codec.decode(sent).sum(), codec.encoder[-1].weight)
    (moved,) = gradient.reshape(COUNT, 2, -1).abs().sum((1, 2)).nonzero().T.tolist()
    offers = codec.encoder(point).reshape(COUNT, 2)
    assert len(moved) == 1
    assert torch.equal(offers[moved[0]], sent[0])


def test_an_encoder_can_jump() -> None:
    """A decoder of two points: a single answer in between decodes to neither, candidates at both ends do."""

    def decode(z: Tensor) -> Tensor:
        return (z / 0.1).clamp(-1, 1)

    x = torch.linspace(-1, 1, 9)[[0, 1, 2, 6, 7, 8]].unsqueeze(1).sign()
    offers = torch.tensor([[[-0.1], [0.1]]]).expand(6, 2, 1)
    sent = candidates.best(offers, x, lambda output: output, decode, 0.0)
    assert sent.flatten().tolist() == pytest.approx([-0.1, -0.1, -0.1, 0.1, 0.1, 0.1])
    assert torch.equal(decode(sent), x)


@pytest.mark.parametrize(
    "source", [cube.SOURCE, gaussian.SOURCE, square.SOURCE], ids=lambda one: one.domain.name
)
@pytest.mark.parametrize("snr", [0.5, 10.0, 1000.0])
def test_at_its_price_the_power_of_a_linear_code_is_the_best_choice(source, snr: float) -> None:  # type: ignore[no-untyped-def]
    """x of variance v is sent as μ = c·x with E μ² = s/(1 + s), and decoded as x̂ = c·v·z.

    Over all μ, (x - c·v·μ)² + λ·μ² is least at c·x if and only if λ = v/(1 + s). That is the rate at which
    the error v/(1 + s·p) falls with the power p of all points at the same noise.
    """
    latents = source.components
    variance, power = source.domain.spread / latents, snr / (1 + snr)
    price = candidates.price(source.domain.spread, Cell("isotropic", latents, snr, 0)) / candidates.PRICE
    gain = np.sqrt(power / variance)
    back = gain * variance
    assert back / (back**2 + price) == pytest.approx(gain)
    assert candidates.price(source.domain.spread, Cell("none", 2, None, 0)) == 0


@pytest.mark.parametrize("noise", ["none", "isotropic", "learned"])
def test_candidates_recover_curves_better_and_have_the_power_that_is_stored(
    noise: str, splits: dict[str, Split], config: MakeConfig
) -> None:
    """Summed over restarts, since one may need them less."""
    points = torch.from_numpy(splits["train"].points)
    sizes = {"steps": 3000, "learning_rate": 0.006, "gaussianity_weight": 0.01}
    recovered = {1: 0.0, 4: 0.0}
    for count in recovered:
        for repeat in range(3):
            cell = Cell(noise, 1, None if noise == "none" else 1000.0, repeat)
            made = config(32, 2, candidates=count, **sizes)
            codec, _ = engine.fit(cell, splits["train"].points, made, lambda *_: None)
            sent = codec.encode(points).mean
            assert float(codec.channel.signal_power) == pytest.approx(float(sent.square().mean()), rel=1e-4)
            recovered[count] += float((codec.decode(sent) - points).square().mean())
    assert recovered[4] < 0.9 * recovered[1]
