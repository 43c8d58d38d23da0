"""Write a codec's encoder and decoder as ONNX: `python -m examples.export_onnx d2-snr100`, after `make`.

    d2-snr100-encoder.onnx   points [n, k], noise [n, d]  →  z [n, d]
    d2-snr100-decoder.onnx   z [n, d]                     →  points [n, k]

Points are float32 in the source's own unit. The caller draws the noise from N(0, I); zeros give the means.
A conditional codec has another input, label [n, l], one-hot. It needs the packages onnx and onnxscript.
"""

import sys

import torch
from torch import Tensor, nn

from snrvae.codecs.codec import Codec
from snrvae.codecs.files import load


class Encoder(nn.Module):
    """Encoder and channel."""

    def __init__(self, codec: Codec):
        super().__init__()
        self.codec, frame = codec, codec.architecture.source.frame
        self.centre, self.factor = torch.tensor(frame.centre, dtype=torch.float32), frame.factor

    def forward(self, points: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        return self.codec.transmit((points - self.centre) / self.factor, noise, label)


class Decoder(Encoder):
    """The decoder alone."""

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return self.centre + self.factor * self.codec.decode(z, label)


def export(codec: Codec, name: str) -> None:
    """Write both halves of a codec to NAME-encoder.onnx and NAME-decoder.onnx, for any number of points."""
    architecture = codec.architecture
    points, noise = torch.rand(7, architecture.dimension), torch.randn(7, architecture.cell.latent_dim)
    classes = architecture.num_classes
    label = {"label": torch.eye(classes)[:1].expand(7, -1)} if classes else {}
    for half, kind, inputs, output in (
        (Encoder(codec), "encoder", {"points": points, "noise": noise, **label}, "z"),
        (Decoder(codec), "decoder", {"z": noise, **label}, "points"),
    ):
        torch.onnx.export(
            half.eval(),
            tuple(inputs.values()),
            f"{name}-{kind}.onnx",
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple({0: "n"} for _ in inputs),
            external_data=False,
            verbose=False,
        )


if __name__ == "__main__":
    codecs = load("data/codecs.safetensors")
    name = " ".join(sys.argv[1:])
    if name not in codecs:
        sys.exit(f"export_onnx: no codec {name!r}; name one of {', '.join(codecs)}")
    export(codecs[name], name.replace("/", "-"))
