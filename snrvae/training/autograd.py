"""The engines torch and cuda: any network and any loss, by autograd.

All cells of one shape are one program: torch.func.vmap runs the codec over their stacked parameters, and one
fused Adam updates them. Both engines promise the same bytes for the same group of cells, threads and
device.
"""

import copy
from collections.abc import Generator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from snrvae.codecs.codec import Codec
from snrvae.codecs.losses import Losses, Weights, loss
from snrvae.settings import fingerprint, grid
from snrvae.settings.grid import Cell
from snrvae.sources.domain import Points
from snrvae.training import batches
from snrvae.training.batches import DRAWN, BatchSampler, FoldedTargets
from snrvae.training.config import TrainConfig
from snrvae.training.history import Recorder
from snrvae.training.schedule import schedule, settling_steps
from snrvae.training.trainer import Made, Progress, Trained, Trainer

State = dict[str, Tensor]


class Autograd(Trainer):
    """Trains cells on a device, those of one shape together."""

    def __init__(self, inputs: Points, config: TrainConfig, device: str = "cpu"):
        self._inputs, self._config, self._device = inputs, config, device

    def train(self, cells: Sequence[Cell], progress: Progress) -> Generator[Made, None, None]:
        """Each trained cell, those of one shape after those of another."""
        for group in grid.groups(cells):
            torch.set_flush_denormal(True)  # a dead unit's Adam moments decay into denormals, which are slow
            try:
                trained = self._fit(group, progress)
            finally:
                torch.set_flush_denormal(False)
            yield from ((one, fingerprint.kind()) for one in trained)

    def _fit(self, cells: tuple[Cell, ...], progress: Progress) -> list[Trained]:
        train, config = self._config.train, self._config
        codecs = [batches.start(cell, self._inputs, config) for cell in cells]
        program = Program(codecs, config, self._device)
        draws = Draws(cells, self._inputs, config, self._device)
        recorders = [Recorder(cell, train) for cell in cells]
        at_once = max(1, DRAWN // train.batch_size)
        for done in range(0, train.steps, at_once):
            steps = range(done, min(done + at_once, train.steps))
            recorded = program.run(steps, draws)
            for place, (cell, recorder) in enumerate(zip(cells, recorders, strict=True)):
                recorder.add(steps, recorded[:, :, place])
                config.check_divergence(cell, recorder.lost)
            progress(len(steps) * len(cells), float(recorded[:, 0].mean()))
        program.store(codecs)
        return [self._finish(codec, recorder) for codec, recorder in zip(codecs, recorders, strict=True)]

    def _finish(self, codec: Codec, recorder: Recorder) -> Trained:
        """The codec with its signal power measured, or marked if it diverged."""
        x, label = _split(codec, torch.from_numpy(self._inputs))
        codec.measure_power(x, label)
        if not codec.finite and not recorder.lost:
            recorder.lost.append(self._config.train.steps - 1)
            self._config.check_divergence(codec.architecture.cell, recorder.lost)
        if recorder.lost:
            codec.mark_diverged()
        return codec.requires_grad_(False), recorder.history()


class Draws:
    """The batches of several cells of one shape, on the device."""

    def __init__(self, cells: Sequence[Cell], inputs: Points, config: TrainConfig, device: str):
        repeats = list(dict.fromkeys(cell.repeat for cell in cells))
        first = [next(cell for cell in cells if cell.repeat == repeat) for repeat in repeats]
        self._samplers = [BatchSampler(cell, len(inputs), config, device) for cell in first]
        self._of_cell = torch.tensor([repeats.index(cell.repeat) for cell in cells], device=device)
        self._inputs = torch.from_numpy(inputs).to(device)
        self._targets = [FoldedTargets(cell, inputs, config) for cell in cells]
        self._repeat = [repeats.index(cell.repeat) for cell in cells]
        self.folds = torch.tensor([float(targets.steps > 0) for targets in self._targets], device=device)

    def draw(self, steps: range) -> tuple[Tensor, Tensor, Tensor]:
        """By repeat: inputs [r, steps, b, k + l] and ε [r, steps, b, d]; by cell: targets [c, j, b, d]."""
        drawn = [sampler.draw(len(steps)) for sampler in self._samplers]
        inputs = torch.stack([self._inputs[choice] for choice, _ in drawn])
        noise = torch.stack([noise.mT for _, noise in drawn])
        return inputs, noise, self._targets_of(steps, [choice for choice, _ in drawn])

    def of_cells(self, drawn: Tensor) -> Tensor:
        """The draws of each cell [c, ...], from those of each repeat [r, ...]."""
        return drawn[self._of_cell]

    def _targets_of(self, steps: range, choices: Sequence[Tensor]) -> Tensor:
        """Targets [c, j, b, d] of the first j of the steps; zeros for cells without a pull."""
        if not any(targets.steps > steps.start for targets in self._targets):
            return self._inputs.new_zeros(len(self._targets), 0)
        rows = [choices[repeat].cpu().numpy() for repeat in self._repeat]
        each = [targets.draw(steps, choice) for targets, choice in zip(self._targets, rows, strict=True)]
        longest = max(each, key=len)
        whole = [target if len(target) else np.zeros_like(longest) for target in each]
        return torch.from_numpy(np.stack(whole)).mT.to(self._inputs.device)


class Program:
    """The steps of several codecs of one shape."""

    def __init__(self, codecs: Sequence[Codec], config: TrainConfig, device: str):
        self._train, self._device = config.train, device
        self._settling = settling_steps(config.train)
        made = codecs[0].architecture
        self._conditional = made.num_classes > 0
        unequal = self._conditional and made.source.shares
        self._shares = torch.tensor(made.source.shares, device=device) if unequal else None
        parameters, buffers = stack_module_state(list(codecs))
        self._parameters = {n: p.detach().to(device).requires_grad_() for n, p in parameters.items()}
        self._buffers = {name: buffer.to(device) for name, buffer in buffers.items()}
        self._codec = copy.deepcopy(codecs[0]).to("meta")  # the module's code, without its numbers
        self._adam = torch.optim.Adam(self._parameters.values(), fused=True)

    def run(self, steps: range, draws: Draws) -> NDArray[np.float32]:
        """Run the steps and return their losses [step, 3, c]. Only the end waits for the device."""
        inputs, noise, targets = draws.draw(steps)
        rates, gaussianity, pulls = schedule(steps, self._train, self._conditional)
        recorded = []
        for n, step in enumerate(steps):
            self._codec.choosing = step >= self._settling
            x, epsilon = draws.of_cells(inputs[:, n]), draws.of_cells(noise[:, n])
            weights = Weights(self._train.kl_weight, float(gaussianity[n]), self._train.mmd_weight)
            target = None
            if n < targets.shape[1]:
                weights, target = weights._replace(pull=float(pulls[n]) * draws.folds), targets[:, n]
            recorded.append(self._step(x, epsilon, weights, target, float(rates[n])))
        return torch.stack(recorded).cpu().numpy()

    def store(self, codecs: Sequence[Codec]) -> None:
        """Put each cell's parameters back into its codec, on the CPU."""
        for place, codec in enumerate(codecs):
            own = {name: stacked[place].detach().cpu() for name, stacked in self._parameters.items()}
            codec.load_state_dict(own, strict=False)

    def _step(self, x: Tensor, noise: Tensor, weights: Weights, target: Tensor | None, rate: float) -> Tensor:
        """Run a step of all cells on inputs [c, b, k + l] and return their losses [3, c]."""

        def of_cell(
            parameters: State,
            buffers: State,
            inputs: Tensor,
            noise: Tensor,
            pull: Tensor | float,
            target: Tensor | None,
        ) -> tuple[Tensor, Losses]:
            points, label = _split(self._codec, inputs)
            sent = functional_call(self._codec, (parameters, buffers), (points, noise, label))
            return loss(sent, points, noise, weights._replace(pull=pull), label, target, self._shares)

        pulled = None if target is None else 0
        program = vmap(of_cell, (0, 0, 0, 0, pulled, pulled))
        total, found = program(self._parameters, self._buffers, x, noise, weights.pull, target)
        self._adam.zero_grad()
        total.sum().backward()
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        return torch.stack(found).detach()


def _split(codec: Codec, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
    """Points [b, k] and one-hot labels [b, l], if any, of a codec's inputs [b, k + l]."""
    points, label = inputs.tensor_split([codec.architecture.dimension], 1)
    return points, label if label.shape[1] else None
