"""pythae's trainer on a β-VAE of the same size: its own loss, without an SNR and without the latent penalty.

With β = 3/2 · kl_weight its loss is 3/2 of mse + kl_weight · E KL. Its schedulers move once an epoch, so the
learning rate is constant.
"""

import contextlib
import io
import logging
import tempfile

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import BetaVAE, BetaVAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from snrvae.training.loop import Recipe
from torch import Tensor

from benchmarks.plain import mlp
from benchmarks.setting import Mses, Setting, Way

EPOCHS = 2


class Encoder(BaseEncoder):
    """Mean and log-variance: the network of a cell, with a second head."""

    def __init__(self, latent_dim: int, hidden: tuple[int, ...]):
        super().__init__()
        self.layers = mlp((3, *hidden, 2 * latent_dim))

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_variance = self.layers(x).chunk(2, 1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """The network of a cell."""

    def __init__(self, latent_dim: int, hidden: tuple[int, ...]):
        super().__init__()
        self.layers = mlp((latent_dim, *hidden, 3))

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z))


def train_vae(latent_dim: int, points: Tensor, recipe: Recipe, folder: str) -> float:
    """Train one β-VAE on points [n, 3], an epoch's; the mse of the trained model on a batch of them."""
    train = recipe.train
    config = BetaVAEConfig(input_dim=(3,), latent_dim=latent_dim, beta=1.5 * train.kl_weight)
    model = BetaVAE(config, Encoder(latent_dim, recipe.hidden), Decoder(latent_dim, recipe.hidden))
    training = BaseTrainerConfig(
        output_dir=folder,
        num_epochs=EPOCHS,
        per_device_train_batch_size=train.batch_size,
        learning_rate=train.learning_rate / 4,
    )
    BaseTrainer(model, BaseDataset(points, torch.zeros(len(points))), training_config=training).train()
    x = points[: train.batch_size]
    with torch.no_grad():
        return float((model({"data": x}).recon_x - x).square().mean())


def prepare(setting: Setting) -> Way:
    """A loop over a few of the cells' latent_dims."""
    recipe = setting.recipe
    steps = recipe.train.steps // EPOCHS
    epoch = np.resize(setting.points, (steps * recipe.train.batch_size, 3))

    def train() -> Mses:
        logging.disable(logging.INFO)
        try:
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
                return {
                    c: train_vae(c.latent_dim, torch.from_numpy(epoch), recipe, folder) for c in setting.few
                }
        finally:
            logging.disable(logging.NOTSET)

    remark = "its own loss, without the penalty, as ours beside it"
    return Way("pythae, BaseTrainer on a β-VAE", steps * EPOCHS, train, remark, penalty=False)
