"""pythae's trainer on a β-VAE of the same size: its own loss, without an SNR and without the latent penalty.

With β = 3/2 · kl_weight its loss is 3/2 of mse + kl_weight · E KL. Its schedulers step once an epoch, so the
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
from torch import Tensor

from benchmarks.setting import Mses, Setting, Way
from snrvae.codecs.networks import mlp
from snrvae.settings.params import Network
from snrvae.training.config import TrainConfig

EPOCHS = 2


class Encoder(BaseEncoder):
    """Mean and log-variance: the network of a cell, with a second head."""

    def __init__(self, latent_dim: int, network: Network):
        super().__init__()
        self.layers = mlp.build(3, 2 * latent_dim, network)

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_variance = self.layers(x).chunk(2, 1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """The network of a cell."""

    def __init__(self, latent_dim: int, network: Network):
        super().__init__()
        self.layers = mlp.build(latent_dim, 3, network)

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z))


def train_vae(latent_dim: int, points: Tensor, config: TrainConfig, folder: str) -> float:
    """Train one β-VAE on points [n, 3], the steps of an epoch; returns the trained model's mse on a batch."""
    train, network = config.train, config.network
    beta_vae = BetaVAEConfig(input_dim=(3,), latent_dim=latent_dim, beta=1.5 * train.kl_weight)
    model = BetaVAE(beta_vae, Encoder(latent_dim, network), Decoder(latent_dim, network))
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
    config = setting.config
    steps = config.train.steps // EPOCHS
    epoch = np.resize(setting.points, (steps * config.train.batch_size, 3))

    def train() -> Mses:
        logging.disable(logging.INFO)
        try:
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
                return {
                    c: train_vae(c.latent_dim, torch.from_numpy(epoch), config, folder) for c in setting.few
                }
        finally:
            logging.disable(logging.NOTSET)

    remark = "its own loss, without the penalty, as ours beside it"
    return Way("pythae, BaseTrainer on a β-VAE", steps * EPOCHS, train, remark, penalty=False)
