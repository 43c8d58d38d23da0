"""Measure every codec on held-out points and against the limit: tables, figure samples, selected codecs."""

from collections.abc import Mapping
from pathlib import Path

import torch

from snrvae.codecs import files as models
from snrvae.codecs.codec import Codec
from snrvae.limit import of_source, shannon
from snrvae.measurement import evaluation, metrics, prices, samples
from snrvae.settings import tables
from snrvae.settings.params import NOISES, Params
from stages import files, sources
from stages.store import open_store


def evaluate(
    params: Params,
    source_path: Path,
    cube_path: Path,
    ae_path: Path,
    vae_path: Path,
    limit_path: Path,
    one_point_path: Path,
    cells_path: Path,
    metrics_path: Path,
    evaluation_path: Path,
    codecs_path: Path,
) -> None:
    source = sources.read_source(source_path, params)
    splits, classes = (
        sources.read_cube(cube_path, source, params),
        source.domain.num_classes(params.conditional),
    )
    law, factor = of_source.law(source, params.conditional), source.domain.factor
    limit = files.read(limit_path, lambda data: shannon.table_from_csv(data, law, factor))
    known = files.read(one_point_path, lambda data: prices.from_csv(data, params.source))

    def read(path: Path, *noises: str) -> list[Codec]:
        return files.read(path, lambda data: models.of_run(data, noises, source.domain, classes))

    every = read(ae_path, "none") + read(vae_path, *NOISES)
    codecs = {codec.architecture.cell: codec for codec in every if not codec.diverged}
    threads, entries = torch.get_num_threads(), open_store()
    found = evaluation.evaluate(codecs, splits, source, limit, params.seed, threads, entries)
    table = metrics.cells(
        {codec.architecture.cell: None for codec in every}
        | {result.cell: result for result in found.results},
        found.generated,
        found.fitted,
        found.limits if params.conditional else prices.priced(found.limits, known),
        source.domain,
        params.conditional,
    )
    selected = {models.selected_name(r.cell): codecs[r.cell] for r in found.selected}
    written: Mapping[Path, str | bytes] = {
        cells_path: tables.to_csv(table),
        metrics_path: metrics.to_json(metrics.tree(table)),
        evaluation_path: samples.to_bytes(found.selected, found.generated, found.fitted, classes),
        codecs_path: models.to_bytes(selected),
    }
    for path, content in written.items():  # only once everything is computed
        files.write(path, content)


if __name__ == "__main__":
    files.run(evaluate, stored=True)
