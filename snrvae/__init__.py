"""How much of a shape survives a noisy bottleneck: codecs, their training, their measures.

    x ──encoder──▶ μ ──channel(SNR)──▶ z = μ + σ·ε ──decoder──▶ x̂

x   a point of the unit cube's surface, in R³                 [3]
μ   latent mean; signal power P = E|μ|² / d                   [d]
σ²  noise power P / s, s the SNR (a linear power ratio)       scalar, or [d] where it is learned
z   what the decoder sees; ε ~ N(0, I)                        [d]
x̂   the reconstruction; mse is the mean over points and coordinates of (x - x̂)²

Axis letters in shape comments: c cells, r repeats, b batch (or n points), d latent dimension,
h hidden units, i inputs, o outputs, l labels.

The package is pure: arrays and settings in, arrays out. It knows no file and no global seed; only Numba keeps
what it compiles (training/cache.py). A folder imports from those before it only:

sources      laws that points are drawn from
settings     what a run is: settings, cells, random streams, memory
formats      what stages hand on, as bytes and back
limit        R(D), and what a channel leaves of it
codecs       encoder, channel, decoder
measurement  distortion, rate, information, generation
training     the compiled step, the loop around it, cores and machines
reporting    figures, report, page
"""
