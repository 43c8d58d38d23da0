"""Compute Shannon's limit for the cube's surface, or for a known face: params → rate_distortion.csv."""

from pathlib import Path

from snrvae import shannon
from snrvae.params import Params
from stages import files


def rate_distortion(params: Params, table_path: Path) -> None:
    law = shannon.law(params.conditional)
    files.write(table_path, shannon.to_csv(shannon.rate_distortion_table(law)))


if __name__ == "__main__":
    files.run(rate_distortion)
