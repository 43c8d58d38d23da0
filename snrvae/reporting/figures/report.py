"""All figures of the report, in the order in which it shows them."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from snrvae.reporting.figures import clouds, curves, latents
from snrvae.reporting.figures.style import Arrays
from snrvae.reporting.lines import Lines
from snrvae.sources.domain import Split
from snrvae.sources.source import Source


def draw(
    cells: pd.DataFrame,
    lines: Lines,
    samples: Arrays,
    losses: pd.DataFrame,
    splits: Mapping[str, Split],
    source: Source,
    conditional: bool,
) -> dict[str, Figure]:
    """The figures by file name, for a run's tables (cells, losses), lines and figure samples."""
    test = splits["test"]
    drawn = {
        "rate_distortion.svg": curves.rate_distortion(cells, lines),
        "data.png": clouds.data(splits["train"], source),
        "autoencoder_latents.svg": latents.autoencoder_latents(cells, samples),
        "grid.svg": curves.grid(cells),
        "controlled_latents.svg": latents.controlled_latents(cells, samples),
        "clouds.png": clouds.clouds(cells, samples, test, source),
    }
    if (cells.noise == "isotropic").any():
        drawn["generated.png"] = clouds.generated(cells, samples, test, source)
    if conditional:
        drawn["requested.png"] = clouds.requested(cells, samples, source)
    elif cells.latent_dim.isin((1, 2)).any():
        drawn["codes.png"] = latents.codes(cells, samples, test, source)
    if (cells.noise == "learned").any():
        drawn["learned_noise.svg"] = curves.learned_noise(cells, samples)
    drawn["training.svg"] = curves.training(losses)
    return drawn
