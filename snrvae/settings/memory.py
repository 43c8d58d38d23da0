"""How much memory a run needs, before anything is computed: what no machine has is refused at once.

Every term is a buffer that a stage holds at its peak, counted in bytes from the settings; the tests hold the
sums to within a factor of two of what processes were seen to use.
"""

from collections.abc import Callable
from typing import Any

from snrvae.settings.params import Params

INTERPRETER = 300e6  # with PyTorch and its libraries
COMPILER = 100e6  # Numba and what it compiled
POINT = 13  # bytes of a point in cube.npz: three float32 and its face
LABEL = 24  # bytes of the face as a conditional codec is given it: six float32
PASS = 8192  # points that go through a network at once in evaluation
FITTED, COMPONENTS = 24_000, 32  # latents that a density is fitted to, and its parts
GROUP = 128  # points that are compared with each other in training, at most
DRAWN = 25_600  # points that are drawn at once in training
LEAST: dict[str, Any] = {  # what may be lowered, and how far
    "data.train_points": 6,
    "data.validation_points": 6,
    "data.test_points": 600,
    "network.hidden_units": 16,
    "network.hidden_layers": 1,
    "train.steps": 1,
    "train.batch_size": 16,
    "train.repeats": 1,
    "latent_dim": (1,),
    "snr": (1.0,),
}

Shapes = list[tuple[int, int]]  # latent_dim and the encoder's outputs for each latent dimension


def check(params: Params, stage: str, cores: int, available: float, limit: str = "") -> None:
    """Raise ValueError where a stage needs more than `available` bytes; the stage `check` asks for all.

    limit  what leaves no more, if it is not the machine
    """
    need = estimate(params, stage, cores)
    if need > available:
        lower = min(LEAST, key=lambda key: estimate(_lowered(params, key), stage, cores))
        within = f" within {limit}; raise that, or" if limit else ";"
        raise ValueError(
            f"params.yaml: {lower}: the run needs about {_gigabytes(need)} GB of memory, "
            f"but {_gigabytes(available)} GB are free{within} lower it"
        )


def estimate(params: Params, stage: str, cores: int) -> float:
    """Bytes that a stage holds at its peak on so many cores; 0 for one that needs next to nothing."""
    stages: dict[str, Callable[[Params, int], float]] = {
        "generate": _generate,
        "train_ae": lambda p, n: _train(p, n, ("none",), 1),
        "train_vae": lambda p, n: _train(p, n, p.noise, len(p.snr)),
        "evaluate": _evaluate,
    }
    if stage == "check":
        return max(need(params, cores) for need in stages.values())
    return stages[stage](params, cores) if stage in stages else 0


def _generate(params: Params, _: int) -> float:
    return 0.1 * INTERPRETER + 3 * POINT * sum(params.data.counts.values())


def _train(params: Params, cores: int, noises: tuple[str, ...], snrs: int) -> float:
    """What is at work, beside all codecs that are done."""
    train, cells = params.train, snrs * params.train.repeats
    shapes = [
        (latent_dim, 2 if noise == "learned" else 1) for latent_dim in params.latent_dim for noise in noises
    ]
    if train.engine == "compiled":
        at_work = _compiled(params, shapes, cells, cores)
    else:  # cuda has all that on the GPU, whose memory is not asked for here
        at_work = _torch(params, shapes, cells) if train.engine == "torch" else COMPILER
    results = sum(cells * 12 * _parameters(params, *shape) for shape in shapes)  # joined, then written
    rows = len(shapes) * cells * 60 * min(train.steps, 60) * 16
    points = (POINT + _label(params)) * params.data.train_points
    return INTERPRETER + points + at_work + results + rows


def _compiled(params: Params, shapes: Shapes, cells: int, cores: int) -> float:
    """A cell on each core."""
    train = params.train
    cell = max(
        16 * _parameters(params, latent_dim, heads)  # with gradients and Adam's two moments
        + 4 * train.batch_size * _activations(params, latent_dim, heads)
        + _drawn(params) * (8 + 4 * latent_dim)
        for latent_dim, heads in shapes
    )
    pairs = 8 * min(GROUP, train.batch_size) ** 2
    return COMPILER + min(cores, len(shapes) * cells) * (cell + pairs)


def _torch(params: Params, shapes: Shapes, cells: int) -> float:
    """All cells of a shape: their codecs, stacked copies of them, and what autograd saves of a step."""
    train = params.train

    def group(latent_dim: int, heads: int) -> float:
        cell = 20 * _parameters(params, latent_dim, heads)  # with gradients and Adam's two moments
        cell += 4 * train.batch_size * _saved(params, latent_dim, heads)
        repeat = _drawn(params) * (8 + 8 * latent_dim + 2 * (12 + _label(params)))  # drawn, then stacked
        return cells * cell + train.repeats * repeat

    return COMPILER + max(group(*shape) for shape in shapes)


def _evaluate(params: Params, cores: int) -> float:
    """Every codec, what is kept of each on the test points, and a cell at work on each core."""
    data, repeats, width = params.data, params.train.repeats, params.network.hidden_units
    largest = max(params.latent_dim)
    shapes = [(d, 1, 1) for d in params.latent_dim]
    shapes += [
        (d, 2 if noise == "learned" else 1, len(params.snr))
        for d in params.latent_dim
        for noise in params.noise
    ]
    codecs = sum(repeats * snrs * 12 * _parameters(params, d, heads) for d, heads, snrs in shapes)
    kept = sum(repeats * snrs * 8 * (heads * d + 3) * data.test_points for d, heads, snrs in shapes)
    at_work = PASS * 24 * max(width, 2 * largest) + data.validation_points * (100 + 8 * largest)
    at_work += data.test_points * (1800 + 8 * width + 120 * largest)
    at_work += min(FITTED, data.train_points) * (32 * COMPONENTS + 8 * largest)
    processes = min(cores, repeats * sum(snrs for _, _, snrs in shapes))
    points = (4 * POINT + 2 * _label(params)) * sum(data.counts.values())
    return INTERPRETER + points + codecs + kept + processes * at_work


def _label(params: Params) -> int:
    """Bytes that each input has more for its label."""
    return LABEL if params.conditional else 0


def _parameters(params: Params, latent_dim: int, heads: int) -> int:
    """Weights and biases of a codec."""
    width, layers = params.network.hidden_units, params.network.hidden_layers
    square = 2 * layers if params.network.kind == "residual" else layers - 1  # between layers of one width
    return 2 * square * (width + 1) * width + (heads + 1) * (width + 1) * latent_dim + 8 * width


def _drawn(params: Params) -> int:
    """Points of the batches that are drawn at once."""
    train = params.train
    return min(train.steps * train.batch_size, max(DRAWN, train.batch_size))


def _saved(params: Params, latent_dim: int, heads: int) -> int:
    """float32 that autograd saves of a point of a batch, of both networks and of the pairs that it is in."""
    width, layers, train = params.network.hidden_units, params.network.hidden_layers, params.train
    of_layer = (2 if params.network.activation == "silu" else 1) + (params.network.kind == "residual")
    pairs = 4 * min(GROUP, train.batch_size)
    pairs += 3 * (latent_dim + 3) * train.batch_size if train.mmd_weight else 0
    ends = 3 * max(width, heads * latent_dim) + 20 * heads * latent_dim + 40
    return 2 * layers * of_layer * width + ends + pairs


def _activations(params: Params, latent_dim: int, heads: int) -> int:
    """float32 that a point of a batch holds in training: both networks, three spaces, latents."""
    width, layers = params.network.hidden_units, params.network.hidden_layers
    return 2 * layers * width + 3 * max(width, heads * latent_dim) + 8 * heads * latent_dim + 20


def _lowered(params: Params, key: str) -> Params:
    section, _, name = key.rpartition(".")
    if not section:
        return params.model_copy(update={key: LEAST[key]})
    return params.model_copy(update={section: getattr(params, section).model_copy(update={name: LEAST[key]})})


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.1f}" if size < 10e9 else f"{size / 1e9:,.0f}"
