"""Compute Shannon's limit for the cube's surface: → rate_distortion.csv. Nothing of the grid enters."""

from pathlib import Path

from snrvae import shannon
from snrvae.params import Params
from stages import files


def rate_distortion(_: Params, table_path: Path) -> None:
    files.write(table_path, shannon.to_csv(shannon.rate_distortion_table()))


if __name__ == "__main__":
    files.run(rate_distortion)
