"""The store of trained cells: it keeps each under a digest of everything that its bytes depend on.

A cell is found again only if cell, settings, training inputs, code and kind of processor are the same to the
last bit; docs/store.md lists what the digest covers.
"""

import hashlib
import json
import logging
from collections.abc import MutableMapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from snrvae.codecs import files
from snrvae.settings import cache, fingerprint, grid
from snrvae.settings.grid import Cell
from snrvae.sources.domain import Points
from snrvae.training import batches, digest
from snrvae.training.config import TrainConfig
from snrvae.training.history import History, Recorder
from snrvae.training.trainer import Trained

KIND = "cell"
NOT_OF_A_CELL = {"repeats", "on_divergence"}  # settings of train that do not change a cell's bytes
PENALTIES = {"kl_weight", "gaussianity_weight"}  # which a channel without noise does not have
_LOG = logging.getLogger(__name__)


class Kept:
    """The trained cells of a run that are kept in `entries`, a mapping from names to bytes.

    processors  kinds of processor on which cells may be trained
    """

    def __init__(
        self,
        entries: MutableMapping[str, bytes],
        cells: Sequence[Cell],
        inputs: Points,
        config: TrainConfig,
        processors: Sequence[str],
    ):
        self._entries, self._config, self._processors = entries, config, processors
        alone = config.train.engine == "compiled"
        self._groups = [(cell,) for cell in cells] if alone else grid.groups(cells)
        self._group_of = {cell: group for group in self._groups for cell in group}
        self._labels = inputs.shape[1] - config.source.coordinates
        content = hashlib.sha256(np.ascontiguousarray(inputs).data).hexdigest()
        self._inputs = [*map(str, inputs.shape), str(inputs.dtype), content]

    def find(self) -> dict[Cell, Trained]:
        """The cells that are kept; of a group whose cells are trained together, all or none.

        Raises DivergedError if one is kept as diverged and train.on_divergence is fail.
        """
        found: dict[Cell, Trained] = {}
        for group in self._groups:
            for kind in self._processors:
                kept = [self._read(cell, kind) for cell in group]
                whole = [trained for trained in kept if trained is not None]
                if len(whole) == len(group):
                    found |= dict(zip(group, whole, strict=True))
                    break
        for cell, (_, history) in found.items():
            self._config.check_divergence(cell, [] if history.diverged is None else [history.diverged])
        return found

    def keep(self, trained: Trained, made_on: str) -> None:
        """Keep one of the cells; `made_on` is the kind of processor that trained it."""
        name = self.name(trained[0].architecture.cell, made_on)
        self._entries[name] = cache.seal(name, to_bytes(trained))

    def name(self, cell: Cell, made_on: str) -> str:
        """The name of a cell's entry: a digest of everything that its bytes depend on."""
        config, autoencoder = self._config, cell.noise == "none"
        settings = config.train.model_dump(exclude=NOT_OF_A_CELL | (PENALTIES if autoencoder else set()))
        everything = {
            "cell": asdict(cell),
            "group": [asdict(other) for other in self._group_of[cell]],
            "network": config.network.model_dump(),
            "candidates": config.encoder.candidates,
            "folds": batches.folds(cell, self._labels, config),
            "train": settings,
            "seed": config.seed,
            "source": asdict(config.source),
            "inputs": self._inputs,
            "code": digest.CODE,
            "processor": made_on,
            "device": fingerprint.device(config.train.engine),
        }
        return f"{KIND}-{hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()}"

    def _read(self, cell: Cell, made_on: str) -> Trained | None:
        """The cell in its entry; None if there is no entry, or it is damaged."""
        name = self.name(cell, made_on)
        data = self._entries.get(name)
        if data is None:
            return None
        try:
            codec, history = from_bytes(cache.unseal(name, data))
            expected = Recorder(cell, self._config.train).history()
            made = codec.architecture  # with the kernel of the machine that trained it
            right = made == replace(self._config.architecture(cell, self._labels), kernel=made.kernel)
            if not right or not np.array_equal(history.step, expected.step):
                raise ValueError("not of this cell")
        except ValueError as error:
            _LOG.warning("store: %s: %s; it is dropped, and %s trained again", name, error, cell.name)
            del self._entries[name]
            return None
        return codec, history


def to_bytes(trained: Trained) -> bytes:
    """A trained cell as safetensors: its model file, and its history."""
    codec, history = trained
    arrays: dict[str, NDArray[Any]] = {
        "model": np.frombuffer(files.to_bytes({codec.architecture.cell.name: codec}), np.uint8),
        "step": history.step,
        "learning_rate": history.learning_rate,
        "losses": history.losses,
        "diverged": np.array([] if history.diverged is None else [history.diverged], np.int64),
    }
    return safetensors.numpy.save(arrays)


def from_bytes(data: bytes) -> Trained:
    """Inverse of to_bytes. Raises ValueError if `data` is anything else."""
    try:
        arrays = safetensors.numpy.load(data)
        (codec,) = files.from_bytes(arrays["model"].tobytes()).values()
        step, rate, losses, diverged = (arrays[n] for n in ("step", "learning_rate", "losses", "diverged"))
    except (safetensors.SafetensorError, LookupError, TypeError) as error:
        raise ValueError(f"not a trained cell ({error!r:.100})") from None
    sound = rate.shape == step.shape and losses.shape == (len(step), 3) and losses.dtype == np.float32
    if not sound or len(diverged) != codec.diverged:
        raise ValueError("a history that does not fit its codec")
    cell = codec.architecture.cell
    return codec, History(cell, step, rate, losses, int(diverged[0]) if len(diverged) else None)
