"""Send points through a trained codec, and draw new ones: `python -m examples.use_a_codec`, after `make`."""

import numpy as np
import torch

from snrvae.codecs.files import load


def main() -> None:
    codec = load("data/codecs.safetensors")["d2-snr100"]
    frame = codec.architecture.source.frame  # between the source's unit and x′, the unit of codecs
    torch.manual_seed(0)

    points = np.array([[1.0, 0.2, 0.3], [0.5, 0.5, 0.0], [0.1, 0.0, 0.9]])  # [n, k], on the cube
    x = torch.from_numpy(frame.normalise(points))
    latents = codec.encode(x)  # means [n, d] and noise power
    z = latents.transmit(torch.randn(latents.mean.shape))  # the decoder's input [n, d]
    reconstructed = frame.restore(codec.decode(z).numpy())
    print(f"sent\n{points}\nreceived\n{reconstructed.round(3)}")
    print(f"mean squared error {np.square(points - reconstructed).mean():.3g}")

    generated = codec.sample(torch.randn(3, codec.architecture.cell.latent_dim))
    print(f"generated from z ~ N(0, I)\n{frame.restore(generated.numpy()).round(3)}")


if __name__ == "__main__":
    main()
