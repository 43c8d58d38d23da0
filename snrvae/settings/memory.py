"""How much memory a run needs: estimated before anything is computed, so that too large a run ends at once.

Every term is a buffer that a stage holds at its peak, in bytes. Tests check that the sums are within a factor
of two of the memory that processes used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from snrvae.settings.params import Params

INTERPRETER = 300e6  # with PyTorch and its libraries
COMPILER = 100e6  # Numba and its compiled code
PASS = 8192  # points that go through a network at once in evaluation
FITTED, COMPONENTS = 24_000, 32  # latents that a density is fitted to, and the density's components
GROUP = 128  # points that are compared with each other in training, at most
DRAWN = 25_600  # points that are drawn at once in training
LEAST: dict[str, Any] = {  # settings that a user can lower, and how far
    "data.train_points": 600,
    "data.validation_points": 600,
    "data.test_points": 600,
    "network.hidden_units": 16,
    "network.hidden_layers": 1,
    "train.steps": 1,
    "train.batch_size": 16,
    "train.repeats": 1,
    "latent_dim": (1,),
    "snr": (1.0,),
}


@dataclass(frozen=True)
class Size:
    """How many coordinates a point has, and how many labels a conditional codec receives."""

    coordinates: int = 3
    labels: int = 0

    @property
    def point(self) -> int:
        """Bytes of a point in cube.npz: its float32 and its label."""
        return 4 * self.coordinates + 1

    @property
    def label(self) -> int:
        """Bytes that a label adds to an input."""
        return 4 * self.labels


Shapes = list[tuple[int, int]]  # latent_dim and the encoder's outputs for each latent dimension


def check(
    params: Params, stage: str, cores: int, available: float, limit: str = "", size: Size = Size()
) -> None:
    """Raise ValueError if a stage needs more than `available` bytes; `check` needs as much as any stage.

    limit  name of the limit that decides `available`; "" for the machine's memory
    """
    need = estimate(params, stage, cores, size)
    if need > available:
        lower = min(LEAST, key=lambda key: estimate(_lowered(params, key), stage, cores, size))
        within = f" within {limit}; raise that, or" if limit else ";"
        raise ValueError(
            f"params.yaml: {lower}: the run needs about {_gigabytes(need)} GB of memory, "
            f"but {_gigabytes(available)} GB are free{within} lower it"
        )


def estimate(params: Params, stage: str, cores: int, size: Size = Size()) -> float:
    """Bytes that a stage holds at its peak on these cores; 0 for a stage that needs almost none."""
    stages: dict[str, Callable[[], float]] = {
        "generate": lambda: 0.1 * INTERPRETER + 3 * size.point * sum(params.data.counts.values()),
        "train_ae": lambda: _train(params, size, cores, ("none",), 1),
        "train_vae": lambda: _train(params, size, cores, params.noise, len(params.snr)),
        "evaluate": lambda: _evaluate(params, size, cores),
    }
    if stage == "check":
        return max(need() for need in stages.values())
    return stages[stage]() if stage in stages else 0


def _train(params: Params, size: Size, cores: int, noises: tuple[str, ...], snrs: int) -> float:
    """Bytes of the cells at work and of all codecs that are done."""
    train, cells = params.train, snrs * params.train.repeats
    shapes = [
        (latent_dim, 2 if noise == "learned" else 1) for latent_dim in params.latent_dim for noise in noises
    ]
    if train.engine == "compiled":
        at_work = _compiled(params, size, shapes, cells, cores)
    else:  # cuda has these on the GPU, whose memory is not checked
        at_work = _torch(params, size, shapes, cells) if train.engine == "torch" else COMPILER
    results = sum(cells * 12 * _parameters(params, size, *shape) for shape in shapes)  # joined, then written
    rows = len(shapes) * cells * 60 * min(train.steps, 60) * 16
    points = (size.point + size.label) * params.data.train_points
    return INTERPRETER + points + at_work + results + rows


def _compiled(params: Params, size: Size, shapes: Shapes, cells: int, cores: int) -> float:
    """Bytes of a cell on each core."""
    train = params.train
    cell = max(
        16 * _parameters(params, size, latent_dim, heads)  # with gradients and Adam's two moments
        + 4 * train.batch_size * _activations(params, size, latent_dim, heads)
        + _drawn(params) * (8 + 4 * latent_dim)
        for latent_dim, heads in shapes
    )
    pairs = 8 * min(GROUP, train.batch_size) ** 2
    return COMPILER + min(cores, len(shapes) * cells) * (cell + pairs)


def _torch(params: Params, size: Size, shapes: Shapes, cells: int) -> float:
    """Bytes of all cells of a shape: codecs, stacked copies, and the tensors that autograd saves."""
    train = params.train

    def group(latent_dim: int, heads: int) -> float:
        cell = 20 * _parameters(params, size, latent_dim, heads)  # with gradients and Adam's two moments
        cell += 4 * train.batch_size * _saved(params, size, latent_dim, heads)
        repeat = _drawn(params) * (8 + 8 * latent_dim + 2 * (size.point + size.label))  # drawn, then stacked
        return cells * cell + train.repeats * repeat

    return COMPILER + max(group(*shape) for shape in shapes)


def _evaluate(params: Params, size: Size, cores: int) -> float:
    """Bytes of every codec, its outputs on the test points, and a cell at work on each core."""
    data, repeats, width = params.data, params.train.repeats, params.network.hidden_units
    largest = max(params.latent_dim)
    shapes = [(d, 1, 1) for d in params.latent_dim]
    shapes += [
        (d, 2 if noise == "learned" else 1, len(params.snr))
        for d in params.latent_dim
        for noise in params.noise
    ]
    codecs = sum(repeats * snrs * 12 * _parameters(params, size, d, heads) for d, heads, snrs in shapes)
    kept = sum(
        repeats * snrs * 8 * (heads * d + size.coordinates) * data.test_points for d, heads, snrs in shapes
    )
    at_work = PASS * 24 * params.encoder.candidates * max(width, 2 * largest)
    at_work += data.validation_points * (100 + 8 * largest)
    at_work += data.test_points * (1800 + 8 * width + 120 * largest + 120 * (size.coordinates - 3))
    at_work += min(FITTED, data.train_points) * (32 * COMPONENTS + 8 * largest)
    processes = min(cores, repeats * sum(snrs for _, _, snrs in shapes))
    points = (4 * size.point + 2 * size.label) * sum(data.counts.values())
    return INTERPRETER + points + codecs + kept + processes * at_work


def _parameters(params: Params, size: Size, latent_dim: int, heads: int) -> int:
    """Weights and biases of a codec."""
    width, layers = params.network.hidden_units, params.network.hidden_layers
    square = 2 * layers if params.network.kind == "residual" else layers - 1  # between layers of one width
    ends = 2 * (size.coordinates + size.labels + 1) * width
    outputs = heads * params.encoder.candidates
    return 2 * square * (width + 1) * width + (outputs + 1) * (width + 1) * latent_dim + ends


def _drawn(params: Params) -> int:
    """Points of the batches that are drawn at once."""
    train = params.train
    return min(train.steps * train.batch_size, max(DRAWN, train.batch_size))


def _saved(params: Params, size: Size, latent_dim: int, heads: int) -> int:
    """Numbers that autograd saves for a point of a batch: of both networks, and of its pairs."""
    width, layers, train = params.network.hidden_units, params.network.hidden_layers, params.train
    of_layer = (2 if params.network.activation == "silu" else 1) + (params.network.kind == "residual")
    pairs = 4 * min(GROUP, train.batch_size)
    pairs += 3 * (latent_dim + 3) * train.batch_size if train.mmd_weight else 0
    count = params.encoder.candidates
    choice = (count > 1) * count * (2 * width + 4 * size.coordinates)  # of a candidate; autograd saves none
    ends = choice + 3 * max(width, heads * latent_dim) + 20 * heads * latent_dim + 13 * size.coordinates
    return 2 * layers * of_layer * width + ends + pairs


def _activations(params: Params, size: Size, latent_dim: int, heads: int) -> int:
    """Numbers that training holds for a point of a batch: networks, work space, latents, candidates."""
    width, layers = params.network.hidden_units, params.network.hidden_layers
    count = params.encoder.candidates
    return (
        2 * layers * width
        + 3 * max(width, count * heads * latent_dim, size.coordinates)
        + (8 + 2 * count) * heads * latent_dim
        + (count > 1) * count * (layers * width + latent_dim + size.coordinates)
        + 6 * size.coordinates
    )


def _lowered(params: Params, key: str) -> Params:
    section, _, name = key.rpartition(".")
    if not section:
        return params.model_copy(update={key: LEAST[key]})
    return params.model_copy(update={section: getattr(params, section).model_copy(update={name: LEAST[key]})})


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.1f}" if size < 10e9 else f"{size / 1e9:,.0f}"
