"""The model file: the state_dict of each codec under its name, and its architecture.

Reading a file (`load`) needs nothing but the file and executes nothing in it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from snrvae.codecs.channels import CHANNELS
from snrvae.codecs.codec import Architecture, Codec
from snrvae.codecs.networks.mlp import ACTIVATIONS
from snrvae.settings.grid import Cell
from snrvae.settings.params import MOST_CANDIDATES, NETWORKS, Network
from snrvae.sources.domain import Domain, from_json, to_json

METADATA = "model"  # one entry, since safetensors writes several in any order
CODECS, SOURCES = "codecs", "sources"  # its keys; codecs of one source share its entry


def load(path: str | Path) -> dict[str, Codec]:
    """The codecs of a model file by name, ready to encode and decode.

    Raises ValueError if the file is no model file, or has an architecture that this version does not know.
    """
    return from_bytes(Path(path).read_bytes())


def selected_name(cell: Cell) -> str:
    """The name of a cell's selected codec: ae/d2, d2-snr100, learned/d2-snr100."""
    folder = {"none": "ae/", "isotropic": ""}.get(cell.noise, f"{cell.noise}/")
    return f"{folder}{cell.key}"


def to_bytes(codecs: Mapping[str, Codec]) -> bytes:
    """The codecs as safetensors, in the order given."""
    tensors = {
        f"{name}/{key}": tensor.contiguous()
        for name, codec in codecs.items()
        for key, tensor in codec.state_dict().items()
    }
    described = {name: _described(codec.architecture) for name, codec in codecs.items()}
    sources = {codec.architecture.source.name: codec.architecture.source for codec in codecs.values()}
    written = {name: json.loads(to_json(source)) for name, source in sources.items()}
    return safetensors.torch.save(tensors, {METADATA: json.dumps({CODECS: described, SOURCES: written})})


def from_bytes(data: bytes) -> dict[str, Codec]:
    """Inverse of to_bytes. Raises ValueError if `data` is anything else."""
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header["__metadata__"]
        if CODECS in metadata:
            raise ValueError("a model file of an earlier version; train again")
        model = json.loads(metadata[METADATA])
        domains = {name: from_json(json.dumps(entry)) for name, entry in model[SOURCES].items()}
        architectures = {
            str(name): _architecture(name, entry, domains, len(tensors))
            for name, entry in model[CODECS].items()
        }
    except (
        safetensors.SafetensorError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        json.JSONDecodeError,
        UnicodeDecodeError,
        ValidationError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"not a model file of this pipeline ({reason:.300})") from None
    try:
        with torch.device("meta"):  # shapes alone, which take no memory
            codecs = {name: Codec(architecture) for name, architecture in architectures.items()}
    except (RuntimeError, OverflowError, TypeError) as error:
        raise ValueError(
            f"describes a codec too large for any memory ({' '.join(str(error).split()):.200})"
        ) from None
    _check_tensors(tensors, {f"{n}/{k}": t for n, c in codecs.items() for k, t in c.state_dict().items()})
    return {name: _filled(name, codec, tensors) for name, codec in codecs.items()}


def of_run(data: bytes, noises: tuple[str, ...], source: Domain, num_classes: int) -> list[Codec]:
    """As from_bytes. Raises ValueError also if a codec has another noise, source or number of labels."""
    codecs = list(from_bytes(data).values())
    for codec in codecs:
        made = codec.architecture
        if made.cell.noise not in noises:
            raise ValueError(f"holds {made.cell.name}, but expected noise: {' or '.join(noises)}")
        if made.source != source:
            raise ValueError(
                f"holds {made.cell.name} of {made.source.name}, but params.yaml and the data are of "
                f"{source.name}"
            )
        if made.num_classes != num_classes:
            raise ValueError(
                f"holds {made.cell.name}, trained with {made.num_classes} labels, but expected "
                f"{num_classes}: params.yaml and the models differ in conditional"
            )
    return codecs


def _described(architecture: Architecture) -> dict[str, Any]:
    """An architecture as values of JSON."""
    return {
        "cell": asdict(architecture.cell),
        "network": architecture.network.model_dump(),
        "candidates": architecture.candidates,
        "num_classes": architecture.num_classes,
        "source": architecture.source.name,
        "engine": architecture.engine,
        "kernel": architecture.kernel,
    }


def _architecture(name: str, entry: Any, sources: Mapping[str, Domain], tensors: int) -> Architecture:
    """Inverse of _described. Raises ValueError, naming the codec, for values unknown to this version."""
    network, source = entry["network"], sources[entry["source"]]
    for what, value, known in (
        ("network.kind", network["kind"], NETWORKS),
        ("network.activation", network["activation"], tuple(ACTIVATIONS)),
        ("noise", entry["cell"]["noise"], tuple(CHANNELS)),
    ):
        if value not in known:
            raise ValueError(f"{name}: {what} {value!r} is unknown; expected {', '.join(known)}")
    labels = entry["num_classes"]
    if type(labels) is not int or labels not in (0, len(source.labels)):
        raise ValueError(f"{name}: {labels!r} labels, but {source.name} has {len(source.labels)} (or 0)")
    settings, count = Network.model_validate(network), entry["candidates"]
    if type(count) is not int or not 1 <= count <= MOST_CANDIDATES:
        raise ValueError(f"{name}: {count!r} candidates; expected 1 to {MOST_CANDIDATES}")
    if settings.hidden_layers > tensors:
        raise ValueError(f"{name}: {settings.hidden_layers} hidden layers, but {tensors} tensors in the file")
    engine, kernel = str(entry["engine"]), str(entry["kernel"])
    return Architecture(Cell(**entry["cell"]), settings, labels, source, engine, kernel, count)


def _check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the tensors are those expected, in float32."""
    if not expected or set(tensors) != set(expected):
        names = ", ".join(map(repr, sorted(set(tensors) ^ set(expected))[:3]))
        raise ValueError(f"its tensors do not match its codecs ({names or 'none at all'})")
    for name, tensor in tensors.items():
        right = list(expected[name].shape)
        if tensor.dtype != torch.float32 or list(tensor.shape) != right:
            raise ValueError(f"{name}: expected float32 {right}, found {tensor.dtype} {list(tensor.shape)}")


def _filled(name: str, codec: Codec, tensors: Mapping[str, Tensor]) -> Codec:
    """The codec with its tensors, on the CPU. Raises ValueError for values that no trained codec has."""
    state = {key: tensors[f"{name}/{key}"] for key in codec.state_dict()}
    diverged = bool(state["channel.signal_power"].isnan())
    for key, tensor in state.items():
        sound = tensor.isnan().all() if diverged else tensor.isfinite().all()
        if not sound or (key == "channel.signal_power" and (tensor < 0).any()):
            raise ValueError(f"{name}/{key}: values that are not finite, or a negative power")
    with torch.device("cpu"):
        codec.fill_buffers()  # buffers that no file holds
    codec.load_state_dict(state, assign=True)
    return codec.eval().requires_grad_(False)
