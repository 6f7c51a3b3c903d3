"""What a model takes and gives, and whether a request fits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from server.inference.grpc_service_pb2 import ModelInferRequest
from server.inference.tensors import DATATYPES, Array, Datatype, from_contents, from_raw
from shoprank.errors import FieldViolation, InvalidRequest

ANY = -1


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output. shape: -1 where any size will do."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs by name, in the model's order."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]

    @classmethod
    def of(cls, session: ort.InferenceSession) -> Signature:
        """The signature of a loaded graph."""
        return cls(
            {i.name: _tensor(i) for i in session.get_inputs()}, {o.name: _tensor(o) for o in session.get_outputs()}
        )


@dataclass(frozen=True, slots=True)
class Inference:
    """A request that fits: arrays by input, and the outputs asked for, in their order."""

    feeds: dict[str, Array]
    outputs: list[Tensor]
    raw: bool


def parse(request: ModelInferRequest, signature: Signature, max_rows: int) -> Inference:
    """The request as arrays. Raises InvalidRequest naming every input and output that does not fit."""
    wrong: list[FieldViolation] = []
    raw = bool(request.raw_input_contents)
    paired = not raw or len(request.raw_input_contents) == len(request.inputs)
    if not paired:
        description = f"has {len(request.raw_input_contents)} entries for {len(request.inputs)} inputs"
        wrong.append(FieldViolation("raw_input_contents", description))
    feeds: dict[str, Array] = {}
    for i, given in enumerate(request.inputs):
        try:
            expected = _expected(given, signature, feeds, max_rows)
            # Unpaired, nothing tells whose the contents are; the name counts, for one that is given twice.
            feeds[given.name] = _read(request, i, raw, expected.datatype) if paired else np.zeros(0)
        except ValueError as error:
            wrong.append(FieldViolation(f"inputs[{i}]", f"{given.name!r:.80} {error}"))
    named = {given.name for given in request.inputs}
    wrong += [FieldViolation("inputs", f"lack {name!r}") for name in signature.inputs if name not in named]
    outputs, missing = _outputs(request, signature)
    wrong += missing
    rows = {name: len(array) for name, array in feeds.items()}
    if not wrong and len(set(rows.values())) > 1:
        wrong.append(FieldViolation("inputs", f"differ in their rows: {rows}"))
    if wrong:
        raise InvalidRequest(wrong)
    return Inference(feeds, outputs, raw)


def _expected(
    given: ModelInferRequest.InferInputTensor, signature: Signature, feeds: dict[str, Array], max_rows: int
) -> Tensor:
    """The input that is given. Raises ValueError where it is none, was given before, or is of another type or shape."""
    expected = signature.inputs.get(given.name)
    if expected is None:
        raise ValueError(f"is no input of the model; it has {', '.join(signature.inputs)}")
    if given.name in feeds:
        raise ValueError("is given twice")
    if given.datatype != expected.datatype.name:
        raise ValueError(f"is of datatype {given.datatype!r:.20}, not {expected.datatype.name}")
    shape = tuple(given.shape)
    fits = len(shape) == len(expected.shape) and all(e in (ANY, s) for s, e in zip(shape, expected.shape, strict=True))
    if not fits:
        raise ValueError(f"is of shape {list(shape)}, not {list(expected.shape)}")
    if not 1 <= shape[0] <= max_rows:
        raise ValueError(f"has {shape[0]} rows, not 1 to {max_rows}")
    return expected


def _read(request: ModelInferRequest, i: int, raw: bool, datatype: Datatype) -> Array:
    given = request.inputs[i]
    if not raw:
        return from_contents(given.contents, datatype, given.shape)
    if given.HasField("contents"):
        raise ValueError("has contents, though there are raw_input_contents")
    try:
        return from_raw(request.raw_input_contents[i], datatype, given.shape)
    except ValueError as error:
        raise ValueError(f"in raw_input_contents[{i}] {error}") from error


def _outputs(request: ModelInferRequest, signature: Signature) -> tuple[list[Tensor], list[FieldViolation]]:
    if not request.outputs:
        return list(signature.outputs.values()), []
    found: dict[str, Tensor] = {}
    wrong = []
    for i, asked in enumerate(request.outputs):
        output = signature.outputs.get(asked.name)
        if output is None:
            there = ", ".join(signature.outputs)
            wrong.append(
                FieldViolation(f"outputs[{i}]", f"{asked.name!r:.80} is no output of the model; it has {there}")
            )
        elif asked.name in found:
            wrong.append(FieldViolation(f"outputs[{i}]", f"{asked.name!r} is asked for twice"))
        else:
            found[asked.name] = output
    return list(found.values()), wrong


def _tensor(found: Any) -> Tensor:
    sizes = (size if isinstance(size, int) else ANY for size in found.shape)
    return Tensor(found.name, DATATYPES[found.type], tuple(sizes))
