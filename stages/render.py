"""Draw the figures and write the report: tables and clouds → reports/figures/, README.md, report.html."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from snrvae.limit import shannon
from snrvae.measurement import metrics, samples
from snrvae.reporting import figures, page, report
from snrvae.settings import grid, tables
from snrvae.settings.params import Params
from snrvae.sources.registry import SOURCES
from snrvae.training import history
from stages import files


def render(
    params: Params,
    cube_path: Path,
    ae_path: Path,
    vae_path: Path,
    evaluation_path: Path,
    cells_path: Path,
    metrics_path: Path,
    limit_path: Path,
    ae_losses_path: Path,
    vae_losses_path: Path,
    lock_path: Path,
    figures_path: Path,
    report_path: Path,
    page_path: Path,
) -> None:
    autoencoders, snr_vaes = grid.autoencoders(params), grid.snr_vaes(params)
    source, conditional = SOURCES[params.source], params.conditional
    law = shannon.law(source.left_open(conditional))
    every, count = autoencoders + snr_vaes, params.data.test_points
    splits = files.read_cube(cube_path, params)
    cells = files.read(cells_path, lambda data: metrics.from_csv(data, every, params.source, conditional))
    diverged = tables.cells_of(cells[cells.diverged == 1])
    drawable = tables.cells_of(cells[(cells.selected == 1) & (cells.diverged == 0)])
    clouds = files.read(
        evaluation_path, lambda data: samples.from_bytes(data, drawable, count, params.num_classes)
    )
    tree = files.read(metrics_path, lambda data: metrics.from_json(data, cells))
    limit = pd.DataFrame(asdict(files.read(limit_path, lambda data: shannon.table_from_csv(data, law))))
    losses = pd.concat(
        [
            files.read(ae_losses_path, lambda data: history.from_csv(data, autoencoders, diverged)),
            files.read(vae_losses_path, lambda data: history.from_csv(data, snr_vaes, diverged)),
        ]
    )
    versions = files.read(lock_path, report.locked_versions)
    asymptotes = {
        latent_dim: shannon.point_by_point_curve(latent_dim, 25, law)
        for latent_dim in params.latent_dim
        if latent_dim in law.dims
    }
    with figures.style():
        drawn = {  # in the order in which the report shows them
            "rate_distortion.svg": figures.rate_distortion(cells, limit, asymptotes),
            "data.png": figures.data(splits["train"], source),
            "autoencoder_latents.svg": figures.autoencoder_latents(cells, clouds),
            "grid.svg": figures.grid(cells),
            "controlled_latents.svg": figures.controlled_latents(cells, clouds),
            "clouds.png": figures.clouds(cells, clouds, splits["test"], source),
        }
        if (cells.noise == "isotropic").any():
            drawn["generated.png"] = figures.generated(cells, clouds, splits["test"], source)
        if conditional:
            drawn["requested.png"] = figures.requested(cells, clouds, source)
        elif {1, 2} & set(params.latent_dim):
            drawn["codes.png"] = figures.codes(cells, clouds, splits["test"], source)
        if (cells.noise == "learned").any():
            drawn["learned_noise.svg"] = figures.learned_noise(cells, clouds)
        drawn["training.svg"] = figures.training(losses)
        images = {name: report.image(figure, Path(name).suffix) for name, figure in drawn.items()}
    digests = {path.as_posix(): files.stream(path, _sha256) for path in (cube_path, ae_path, vae_path)}
    text = report.markdown(params, cells, tree, versions, digests, list(images))
    content = page.content(params, cells, tree, limit, asymptotes, clouds, splits["test"], source, versions)
    for name, image in images.items():
        files.write(figures_path / name, image)
    files.write(report_path, text)
    files.write(page_path, page.html(content))


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: file.read(2**20), b""):
        digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    files.run(render)
