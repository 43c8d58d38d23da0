"""How much of a shape survives a noisy bottleneck: codecs, their training, their measures.

    x ──encoder──▶ μ ──channel(SNR)──▶ z = μ + σ·ε ──decoder──▶ x̂

x   a point of the unit cube's surface, in R³                 [3]
μ   latent mean; signal power P = E|μ|² / d                   [d]
σ²  noise power P / s, s the SNR (a linear power ratio)       scalar, or [d] if it is learned
z   what the decoder receives; ε ~ N(0, I)                        [d]
x̂   the reconstruction; mse is the mean over points and coordinates of (x - x̂)²

Axis letters in shape comments: c cells, r repeats, b batch (or n points), d latent dimension,
h hidden units, i inputs, o outputs, l labels.

The package is pure: arrays and settings in, arrays out. It knows no file and no global seed; only Numba keeps
what it compiles (training/compiled/cache.py), and processor.py sets environment variables.
A room imports from those before it only:

sources      what points are drawn from, and the data set as a file
settings     params.yaml as types, the grid of cells, random streams, memory
codecs       the definition: Codec(nn.Module), channels, networks, loss, model file
training     engines, batches and schedule, cores and machines
limit        R(D), and what a channel leaves of it
measurement  distortion, rate, information, generation, and the tables of them
reporting    figures, report, page
"""

from snrvae import processor  # noqa: F401 - it has to come before every library
