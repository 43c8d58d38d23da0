"""Compute Shannon's limit for the source, or for what a label leaves open: params → rate_distortion.csv."""

from pathlib import Path

from snrvae.limit import shannon
from snrvae.settings.params import Params
from snrvae.sources.registry import SOURCES
from stages import files


def rate_distortion(params: Params, table_path: Path) -> None:
    law = shannon.law(SOURCES[params.source].conditional_source(params.conditional))
    files.write(table_path, shannon.to_csv(shannon.rate_distortion_table(law)))


if __name__ == "__main__":
    files.run(rate_distortion)
