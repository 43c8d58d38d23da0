"""How cells are trained, and how a cell that diverged is reported."""

from dataclasses import dataclass

from snrvae import processor
from snrvae.codecs.codec import Architecture
from snrvae.settings.grid import Cell
from snrvae.settings.params import PLAIN, Encoder, Network, Params, Train
from snrvae.sources.domain import Domain
from snrvae.training import schedule


class DivergedError(ValueError):
    """A loss that is not finite."""


@dataclass(frozen=True)
class TrainConfig:
    """The settings that training depends on, besides cells and inputs."""

    network: Network
    train: Train
    seed: int
    source: Domain
    encoder: Encoder = PLAIN

    def architecture(self, cell: Cell, num_classes: int) -> Architecture:
        """The architecture of a cell's codec."""
        network, count = self.network, self.encoder.candidates
        engine, kernel = self.train.engine, processor.kernel()
        return Architecture(cell, network, num_classes, self.source, engine, kernel, count)

    def check_divergence(self, cell: Cell, lost: list[int]) -> None:
        """Raise DivergedError for the first of the `lost` steps, if train.on_divergence is fail."""
        if lost and self.train.on_divergence == "fail":
            rate = self.train.learning_rate
            raise DivergedError(f"{self.divergence(cell, lost[0])}; lower train.learning_rate ({rate:g})")

    def divergence(self, cell: Cell, step: int) -> str:
        """A sentence about a cell that diverged."""
        rate = schedule.learning_rate(step, self.train.steps, self.train.learning_rate)
        return (
            f"{cell.name}: the loss is not finite at step {step} of {self.train.steps}, "
            f"where the learning rate is {rate:.3g}"
        )


def of_params(params: Params, source: Domain) -> TrainConfig:
    """The part of a run's settings that training depends on."""
    return TrainConfig(params.network, params.train, params.seed, source, params.encoder)
