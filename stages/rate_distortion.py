"""Compute R(D) of the source, given the label if conditional: source.npz → rate_distortion.csv."""

from pathlib import Path

from snrvae.limit import of_source, shannon
from snrvae.settings import machine
from snrvae.settings.params import Params
from stages import files, sources


def rate_distortion(params: Params, source_path: Path, table_path: Path) -> None:
    source = sources.read_source(source_path, params)
    table = of_source.table(source, params.conditional, machine.cores())
    files.write(table_path, shannon.to_csv(table, source.domain.factor))


if __name__ == "__main__":
    files.run(rate_distortion)
