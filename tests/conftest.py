"""What several test files share: seeded property tests, small splits, a grid trained on them in a second."""

from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from snrvae.codecs.codec import Codecs
from snrvae.sources import dataset
from snrvae.limit import shannon
from snrvae.limit.rate_distortion import Lines
from snrvae.settings import grid
from snrvae.settings.grid import Cell
from snrvae.settings.params import Train
from snrvae.sources import cube
from snrvae.sources.source import Split
from snrvae.training import loop
from snrvae.training.loop import Recipe

hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("seeded")

ROOT = Path(__file__).parents[1]

MakeRecipe = Callable[..., Recipe]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: begun last, it would keep one core busy and the others waiting."""
    items.sort(key=lambda item: item.path.name != "test_dvc.py")


@pytest.fixture(scope="session")
def recipe() -> MakeRecipe:
    """A recipe for a training of well under a second, with any setting replaced by name."""

    def make(hidden: tuple[int, ...] = (16, 16), seed: int = 0, **settings: float) -> Recipe:
        standard = {
            "steps": 60,
            "batch_size": 64,
            "learning_rate": 0.01,
            "repeats": 2,
            "kl_weight": 3e-4,
            "gaussianity_weight": 3e-3,
            "on_divergence": "fail",
        }
        return Recipe(hidden, Train.model_validate(standard | settings), seed, "cube")

    return make


@pytest.fixture(scope="session")
def splits() -> dict[str, Split]:
    return dataset.generate(cube.SOURCE, {"train": 1200, "validation": 600, "test": 900}, seed=0)


@pytest.fixture(scope="session")
def cells() -> list[Cell]:
    """Every kind of cell: the autoencoder and both noises, two SNRs, two repeats."""
    autoencoders = [Cell("none", d, None, repeat) for d in (1, 2) for repeat in (0, 1)]
    noisy = [
        Cell(noise, 2, snr, repeat)
        for noise in grid.MODELS
        if noise != "none"
        for snr in (4.0, 100.0)
        for repeat in (0, 1)
    ]
    return [*autoencoders, *noisy]


@pytest.fixture(scope="session")
def codecs(cells: list[Cell], splits: dict[str, Split], recipe: MakeRecipe) -> list[Codecs]:
    """The cells, trained for 200 steps: ae/d1, ae/d2, snr_vae/d2, snr_vae_learned/d2."""
    points = splits["train"].points
    return [loop.fit(group, points, recipe(steps=200), lambda *_: None)[0] for group in grid.groups(cells)]


@pytest.fixture(scope="session")
def lines() -> Lines:
    """The certified lines below R(D) as the repository holds them."""
    return shannon.lines_from_csv((ROOT / "reports" / "rate_distortion.csv").read_bytes())
