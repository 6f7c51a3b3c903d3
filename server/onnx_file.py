"""What an ONNX file may not do: read files that are not part of its bundle, or be too large.

A tensor of an ONNX model may keep its values in another file, named by the model. ONNX Runtime opens that file, so a
model could read what the server can read. The file is walked here as protobuf's wire format, by the field numbers of
onnx.proto (https://onnx.ai/onnx/repo-docs/ExternalData.html), before ONNX Runtime sees it. Of a field that stands there
more than once every occurrence is looked at, so the walk finds at least what any parser would.
"""

from __future__ import annotations

import mmap
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from shoprank import bundle
from shoprank.errors import BundleError

MAX_FILE_BYTES = 1 << 30
MAX_GOLDEN_BYTES = 1 << 28
"""Of the golden answers, unpacked."""
MAX_DEPTH = 64
"""Messages inside each other; the graphs of control flow nest three a level."""

TENSOR = "TensorProto"
EXTERNAL_DATA, DATA_LOCATION = 13, 14
LOCATION = b"location"

MESSAGES: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: TENSOR, 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: TENSOR,
        6: "GraphProto",
        10: TENSOR,
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: TENSOR, 2: TENSOR},
}
"""Of each message on the way to a tensor, the fields that lead there, by number."""

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
Buffer = mmap.mmap | bytes


def refuse_external_data(path: Path, manifest: bundle.Manifest) -> None:
    """Raise BundleError where the model at `path` names external data outside its bundle, or the bundle has bad files.

    External data may only be a plain file beside the model that the manifest lists, and so hashes. No file of the
    bundle may be a link or too large.
    """
    if path.name not in manifest.files:
        raise BundleError(f"{path}: the manifest does not list it")
    for name in (*manifest.files, bundle.MANIFEST):
        check_file(path.parent / name, MAX_FILE_BYTES)
    check_archive(path.parent / bundle.GOLDEN, MAX_GOLDEN_BYTES)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            named = set(external_data(content))
        except ValueError as error:
            raise BundleError(f"{path}: no ONNX model: {error}") from error
    for location in sorted(named):
        if Path(location).name != location or location not in manifest.files:
            raise BundleError(
                f"{path}: a tensor names external data {location!r:.200}, which is no file that the manifest lists"
            )


def check_file(file: Path, limit: int) -> None:
    """Raise BundleError where it is no plain file, a link included, is empty, or has more than `limit` bytes."""
    try:
        status = file.lstat()
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{file}: a link or no plain file; a bundle holds plain files only")
    if not 0 < status.st_size <= limit:
        raise BundleError(f"{file}: has {status.st_size:,} bytes, not 1 to {limit:,}")


def check_archive(file: Path, limit: int) -> None:
    """Raise BundleError where a NumPy archive would unpack to more than it should."""
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"{file}: no NumPy archive: {error}") from error
    if size > limit:
        raise BundleError(f"{file}: unpacks to {size:,} bytes, more than {limit:,}")


def external_data(content: Buffer) -> Iterator[str]:
    """The location of every external tensor in a ModelProto; "" where one names none.

    Raises ValueError where it is malformed or has no graph.
    """
    graphs = 0
    for number, kind, begin, end in _fields(content, 0, len(content)):
        graphs += number == 7 and kind == LENGTH
        if kind == LENGTH and (message := MESSAGES["ModelProto"].get(number)):
            yield from _external(content, message, begin, end, 1)
    if not graphs:
        raise ValueError("it has no graph")


def _external(content: Buffer, message: str, begin: int, end: int, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ValueError(f"its graphs lie more than {MAX_DEPTH} messages deep")
    if message == TENSOR:
        yield from _locations(content, begin, end)
        return
    inner = MESSAGES[message]
    for number, kind, start, stop in _fields(content, begin, end):
        if kind == LENGTH and number in inner:
            yield from _external(content, inner[number], start, stop, depth + 1)


def _locations(content: Buffer, begin: int, end: int) -> Iterator[str]:
    """Where a tensor's values lie, of one that says they lie elsewhere."""
    external, named = False, []
    for number, kind, start, stop in _fields(content, begin, end):
        if number == DATA_LOCATION and kind == VARINT:
            external |= _varint(content, start, stop)[0] != 0
        elif number == EXTERNAL_DATA and kind == LENGTH:
            external = True
            entry = list(_fields(content, start, stop))
            keys = {content[s:e] for n, k, s, e in entry if n == 1 and k == LENGTH}
            if LOCATION in keys:
                named += [content[s:e].decode(errors="replace") for n, k, s, e in entry if n == 2 and k == LENGTH]
    if external:
        yield from named or [""]


def _fields(content: Buffer, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, first and last byte of each field of a message. Raises ValueError where it is malformed.

    Groups, which protobuf gave up before ONNX began, count as malformed.
    """
    at = begin
    while at < end:
        tag, at = _varint(content, at, end)
        number, kind = tag >> 3, tag & 7
        start = at
        if kind == VARINT:
            _, at = _varint(content, at, end)
        elif kind == LENGTH:
            size, start = _varint(content, at, end)
            at = start + size
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} at byte {start}")
        if not 0 < number < 1 << 29 or at > end:
            raise ValueError(f"a field that does not end or has no number, at byte {start}")
        yield number, kind, start, at


def _varint(content: Buffer, at: int, end: int) -> tuple[int, int]:
    """The value of a varint, of 10 bytes at most, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number that does not end, at byte {at}")
