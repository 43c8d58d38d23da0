"""How much of a shape survives a noisy bottleneck: codecs, their training, their measures.

    x ──encoder──▶ μ ──channel(SNR)──▶ z = μ + σ·ε ──decoder──▶ x̂

x   a point of the source, by default on a cube's surface     [k]
μ   latent mean; signal power P = E|μ|² / d                   [d]
σ²  noise power P / s, s the SNR (a linear power ratio)       scalar, or [d] if it is learned
z   what the decoder receives; ε ~ N(0, I)                        [d]
x̂   the reconstruction; mse is the mean over points and coordinates of (x - x̂)²

Axis letters in shape comments: c cells, r repeats, b batch (or n points), d latent dimension,
h hidden units, i inputs, o outputs, l labels.

The package is pure: arrays and settings in, arrays out. It uses no file of the pipeline and no global seed.
Four modules look at the machine: processor.py chooses vector instructions, settings/machine.py reads limits,
settings/cache.py names the folder for what is kept between runs, and settings/machine_code.py keeps compiled
functions there. sources/reading.py reads a user's own file. A room (a folder of snrvae) imports only from the
rooms before it:

settings     params.yaml as types, the grid of cells, random streams, memory, the machine's limits, caches
sources      the distributions that points are drawn from, and the data set as a file
codecs       the definition: Codec(nn.Module), channels, networks, loss, model file
training     engines, batches and schedule, cores and machines, the store of trained cells
limit        R(D), and the least distortion over a channel
measurement  distortion, rate, information, generation, and their tables
reporting    figures, report, page
"""

from snrvae import processor  # noqa: F401 - it has to come before every library
