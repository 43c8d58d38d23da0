"""R(D) of any source: a built-in law, a mesh, or the law behind a file's points."""

import numpy as np

from snrvae.limit import mesh, points, shannon
from snrvae.limit.shannon import RateDistortion, RateDistortionTable
from snrvae.sources.source import Source


def law(source: Source, conditional: bool) -> RateDistortion | None:
    """R(D) of a built-in source, given the label if `conditional`; None for a mesh or a file's points."""
    if source.triangles is not None or source.known is not None:
        return None
    return shannon.law(source.conditional_source(conditional))


def table(source: Source, conditional: bool, threads: int = 2) -> RateDistortionTable:
    """The table of R(D) of a source, given the label if `conditional`, in the unit of x'."""
    if source.triangles is not None:
        return mesh.table(source.triangles, threads)
    if source.known is not None:
        known = source.known.points.astype(np.float64)
        return points.table(known, source.known.label if conditional else None, threads)
    return shannon.rate_distortion_table(shannon.law(source.conditional_source(conditional)))
