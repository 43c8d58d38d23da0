"""A density fitted to the latents after training, from which a generator can draw instead of N(0, I).

A mixture of Gaussians, as in Ghosh et al., From Variational to Deterministic Autoencoders, ICLR 2020.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

COMPONENTS = 32
POINTS = 24_000  # latents used for a fit
ITERATIONS = 1000  # far more than a fit takes
TOLERANCE = 5e-3  # nats of likelihood; a finer one takes twice as long and generates no better


@dataclass(frozen=True)
class Mixture:
    """Gaussians by weight [k], mean [k, d] and a root of their covariance [k, d, d]."""

    weight: Array
    mean: Array
    root: Array

    def sample(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """`count` independent latents [n, d]."""
        component = rng.choice(len(self.weight), count, p=self.weight)
        normal = rng.standard_normal((count, self.mean.shape[1]))
        return np.asarray(self.mean[component] + np.einsum("nij,nj->ni", self.root[component], normal))


def fit(latents: Array, seed: int) -> Mixture:
    """The mixture that expectation–maximisation finds for latents [n, d], after scaling to variance 1."""
    from sklearn.mixture import GaussianMixture  # noqa: PLC0415 - a second of loading, which kept fits save

    scale = latents.std(0, dtype=np.float64)
    scale[scale <= 1e-12 * np.abs(latents).max(0)] = 1  # latents that do not vary have only rounding errors
    mixture = GaussianMixture(
        min(COMPONENTS, len(latents)),
        init_params="k-means++",
        max_iter=ITERATIONS,
        tol=TOLERANCE,
        random_state=seed % 2**32,
    ).fit(latents / scale)
    root = np.linalg.cholesky(mixture.covariances_)
    return Mixture(mixture.weights_, mixture.means_ * scale, root * scale[:, None])
