"""What several test files share: seeded property tests, small splits, a grid trained on them in a second."""

from tests import apart  # noqa: F401 - before Numba is loaded

# isort: split
import gc
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from snrvae.codecs.codec import Codec
from snrvae.limit import shannon
from snrvae.limit.rate_distortion import Tangents
from snrvae.limit.shannon import RateDistortionTable
from snrvae.measurement import generation
from snrvae.settings.grid import Cell
from snrvae.settings.params import Encoder, Network, Train
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import cube
from snrvae.sources.domain import Domain, Split
from snrvae.sources.registry import SOURCES
from snrvae.sources.source import Source
from snrvae.training.compiled import engine
from snrvae.training.config import TrainConfig

hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("seeded")

# What a script starts in the background ignores Ctrl-C, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
LONGEST = (  # files that take 40 seconds and more, the longest first
    "test_extending.py",
    "test_dvc.py",
    "test_own_data.py",
    "test_mesh_limit.py",
    "test_store.py",
    "test_kinds.py",
    "test_processors.py",
    "test_pipeline.py",
    "test_checks.py",
    "test_points.py",
    "test_interruptions.py",
    "test_memory.py",
)

MakeConfig = Callable[..., TrainConfig]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: begun last, one would keep a core busy and the others waiting."""
    place = dict(zip(LONGEST, range(len(LONGEST)), strict=True))
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
    gc.freeze()  # else every full collection walks through all that was imported
    gc.set_threshold(200_000, 50, 100)  # and there are fewer of them


@pytest.fixture(scope="session")
def config() -> MakeConfig:
    """The config of a training of well under a second, with any setting replaced by name."""

    def make(
        hidden_units: int = 16,
        hidden_layers: int = 2,
        kind: str = "mlp",
        activation: str = "relu",
        seed: int = 0,
        source: str = "cube",
        candidates: int = 1,
        folded_start: bool = False,
        **settings: float | str,
    ) -> TrainConfig:
        standard = {
            "steps": 60,
            "batch_size": 64,
            "learning_rate": 0.01,
            "repeats": 2,
            "kl_weight": 3e-4,
            "gaussianity_weight": 3e-3,
            "mmd_weight": 0.0,
            "engine": "compiled",
            "on_divergence": "fail",
        }
        network = {"kind": kind, "activation": activation}
        sizes = {"hidden_units": hidden_units, "hidden_layers": hidden_layers}
        train = Train.model_validate(standard | settings)
        encoder = Encoder(candidates=candidates, folded_start=folded_start)
        made = Network.model_validate(network | sizes)
        return TrainConfig(made, train, seed, SOURCES[source].domain, encoder)

    return make


def reference_of(source: Source, test: Split, seed: int = 0) -> generation.Reference:
    """What generated points of a source are compared with."""
    compared = generation.compared(source, test, np.random.default_rng(seed))
    return generation.reference(source, test, *compared)


def draw_splits(source: Source, counts: Mapping[str, int], seed: int = 0) -> dict[str, Split]:
    """The splits that generate writes for a seed."""
    return {name: source.split(count, numpy_stream(seed, "data", name)) for name, count in counts.items()}


def box(coordinates: int, rng: np.random.Generator) -> Domain:
    """Points with bounds of their own in each coordinate, some of which every answer is beyond."""
    low = rng.uniform(-3, 1, coordinates)
    high = low + rng.uniform(0.1, 2, coordinates)
    bounds = tuple(low.tolist()), tuple(high.tolist())
    shares = (0.5, 0.25, 0.15, 0.1)
    return Domain(
        name="box",
        title="a box",
        noun="box",
        unit="unit",
        centre=(0.0,) * coordinates,
        factor=1.0,
        shape=(coordinates,),
        mean=tuple(((low + high) / 2).tolist()),
        bounds=bounds,
        spread=1.0,
        left_open=1.0,
        labels=("a", "b", "c", "d"),
        shares=shares,
        labelled=True,
    )


@pytest.fixture(scope="session")
def splits() -> dict[str, Split]:
    return draw_splits(cube.SOURCE, {"train": 1200, "validation": 600, "test": 900})


@pytest.fixture(scope="session")
def cells() -> list[Cell]:
    """Every kind of cell: the autoencoder and both noises, two SNRs, two repeats."""
    autoencoders = [Cell("none", d, None, repeat) for d in (1, 2) for repeat in (0, 1)]
    noisy = [
        Cell(noise, 2, snr, repeat)
        for noise in ("isotropic", "learned")
        for snr in (4.0, 100.0)
        for repeat in (0, 1)
    ]
    return [*autoencoders, *noisy]


@pytest.fixture(scope="session")
def codecs(cells: list[Cell], splits: dict[str, Split], config: MakeConfig) -> dict[str, Codec]:
    """The cells by name, of two candidates, trained for 200 steps: ae/d1/0, snr_vae/d2-snr4/0, ..."""
    points, made = splits["train"].points, config(steps=200, candidates=2)
    return {cell.name: engine.fit(cell, points, made, lambda *_: None)[0] for cell in cells}


@pytest.fixture(scope="session")
def limits() -> RateDistortionTable:
    """The table of R(D) as the repository holds it."""
    return shannon.table_from_csv((ROOT / "reports" / "rate_distortion.csv").read_bytes())


@pytest.fixture(scope="session")
def lines(limits: RateDistortionTable) -> Tangents:
    """Its certified lines below R(D)."""
    return limits.tangents
