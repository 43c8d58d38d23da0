"""Draw the source's points: params.yaml, data/raw/ → data/cube.npz, data/source.npz."""

import sys
from functools import partial
from pathlib import Path

from snrvae.settings.params import Params
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import dataset, finite, origin, record
from stages import files


def generate(params: Params, raw_path: Path, cube_path: Path, source_path: Path) -> None:
    stream = partial(numpy_stream, params.seed, "data")
    source, splits = origin.draw(params.source, params.data.counts, stream, raw_path)
    if source.domain.num_classes(params.conditional):
        finite.check_labels(params.source, splits["test"], source.labels)
    used, wanted = {name: len(split.points) for name, split in splits.items()}, params.data.counts
    if used != wanted:
        counts = ", ".join(f"{count:,} for {name}" for name, count in used.items())
        print(f"{params.source}: {sum(used.values()):,} points: {counts}", file=sys.stderr)
    files.write(cube_path, dataset.to_bytes(splits))
    files.write(source_path, record.to_bytes(source))


if __name__ == "__main__":
    files.run(generate)
