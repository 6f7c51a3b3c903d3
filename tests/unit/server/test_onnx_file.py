"""ONNX files that would read what they should not."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from server import onnx_file
from server.onnx_file import external_data, refuse_external_data
from shoprank import bundle
from shoprank.errors import BundleError


def external(location: str | None, **more: str) -> TensorProto:
    """A float tensor of two values that lie elsewhere."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in {**({} if location is None else {"location": location}), **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def inline() -> TensorProto:
    return helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])


def model(*initializers: TensorProto, nodes: Any = (), functions: Any = ()) -> Any:
    """A model that adds its initializers to its input."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    added = [helper.make_node("Add", ["x", "w"], ["y"])] if initializers else []
    graph = helper.make_graph([*added, *nodes], "g", [x], [y], list(initializers))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=8)


def sparse(tensor: TensorProto) -> Any:
    made = onnx.SparseTensorProto(dims=[2])
    made.indices.CopyFrom(tensor)
    return made


def constant(tensor: TensorProto) -> Any:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def branch(tensor: TensorProto) -> Any:
    inner = helper.make_graph([constant(tensor)], "b", [], [])
    return helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner)


def function(tensor: TensorProto) -> Any:
    return helper.make_function("own", "F", [], ["c"], [constant(tensor)], [helper.make_opsetid("", 18)])


def with_sparse_initializer(tensor: TensorProto) -> Any:
    made = model(inline())
    made.graph.sparse_initializer.append(sparse(tensor))
    return made


def with_training_info(tensor: TensorProto) -> Any:
    made = model(inline())
    made.training_info.add().algorithm.initializer.append(tensor)
    return made


def with_default_of_a_function(tensor: TensorProto) -> Any:
    made = function(inline())
    made.attribute_proto.append(helper.make_attribute("a", tensor))
    return model(inline(), functions=[made])


PLACES: dict[str, Callable[[TensorProto], Any]] = {
    "initializer": model,
    "sparse initializer": with_sparse_initializer,
    "attribute": lambda t: model(inline(), nodes=[constant(t)]),
    "list of tensors": lambda t: model(inline(), nodes=[helper.make_node("Own", [], ["c"], domain="own", many=[t, t])]),
    "sparse attribute": lambda t: model(
        inline(), nodes=[helper.make_node("Own", [], ["c"], domain="own", s=sparse(t))]
    ),
    "subgraph": lambda t: model(inline(), nodes=[branch(t)]),
    "subgraph of a subgraph": lambda t: model(
        inline(), nodes=[helper.make_node("Own", [], ["q"], body=helper.make_graph([branch(t)], "o", [], []))]
    ),
    "list of graphs": lambda t: model(
        inline(), nodes=[helper.make_node("Own", [], ["q"], bodies=[helper.make_graph([constant(t)], "o", [], [])])]
    ),
    "function": lambda t: model(inline(), functions=[function(t)]),
    "default of a function": with_default_of_a_function,
    "training": with_training_info,
}


def write(folder: Path, content: bytes, **files: bytes) -> tuple[Path, bundle.Manifest]:
    """A bundle of this model and these files, all in its manifest."""
    folder.mkdir(exist_ok=True)
    (folder / bundle.MODEL).write_bytes(content)
    (folder / bundle.MANIFEST).write_text("{}")
    np.savez(folder / bundle.GOLDEN, a=np.zeros(3))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    names = {bundle.MODEL, bundle.GOLDEN, *files}
    manifest = bundle.Manifest(
        "m", 1, "ranking", "sigmoid", "", (), (), "int64", "", files={n: bundle.sha256(folder / n) for n in names}
    )
    return folder / bundle.MODEL, manifest


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_wherever_a_tensor_can_be(tmp_path: Path, place: str) -> None:
    refuse_external_data(*write(tmp_path / "good", PLACES[place](inline()).SerializeToString()))
    attack = PLACES[place](external("../../../../../../etc/passwd")).SerializeToString()
    assert set(external_data(attack)) == {"../../../../../../etc/passwd"}
    with pytest.raises(BundleError, match=r"external data '\.\./.*etc/passwd', which is no file that the manifest"):
        refuse_external_data(*write(tmp_path / "bad", attack))


LOCATIONS = [
    "/etc/passwd", "../secret", "./weights", "a/weights", "a\\..\\secret", "..", ".", "", " weights", "weights\0",
    "Weights", "*/_ORT_MEM_ADDR_/*", "file:///etc/passwd", "unlisted",
]  # fmt: skip


@pytest.mark.parametrize("location", LOCATIONS)
def test_only_a_plain_name_that_the_manifest_lists_may_be_named(tmp_path: Path, location: str) -> None:
    (tmp_path / "unlisted").write_bytes(bytes(8))
    path, manifest = write(tmp_path, model(external(location)).SerializeToString(), weights=bytes(8))
    with pytest.raises(BundleError, match="names external data"):
        refuse_external_data(path, manifest)


def test_a_file_of_the_bundle_may_be_named_and_onnx_runtime_reads_it(tmp_path: Path) -> None:
    weights = np.array([3, 4], np.float32).tobytes()
    path, manifest = write(tmp_path, model(external("weights")).SerializeToString(), weights=weights)
    refuse_external_data(path, manifest)
    session = ort.InferenceSession(str(path))
    assert session.run(None, {"x": np.zeros(2, np.float32)})[0].tolist() == [3, 4]


def test_a_model_that_the_manifest_does_not_list_is_refused(tmp_path: Path) -> None:
    path, manifest = write(tmp_path, model(inline()).SerializeToString())
    unlisted = path.rename(tmp_path / "item.onnx")
    path.write_bytes(unlisted.read_bytes())
    with pytest.raises(BundleError, match=r"item\.onnx: the manifest does not list it"):
        refuse_external_data(unlisted, manifest)


def test_external_data_without_a_location_is_refused(tmp_path: Path) -> None:
    path, manifest = write(tmp_path, model(external(None, offset="0")).SerializeToString())
    with pytest.raises(BundleError, match="names external data ''"):
        refuse_external_data(path, manifest)


def field(number: int, data: bytes) -> bytes:
    """One length-delimited field, as protobuf writes it."""
    size, prefix = len(data), b""
    while size > 0x7F:
        prefix, size = prefix + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + prefix + bytes([size]) + data


def test_a_graph_or_entry_that_stands_there_twice_is_looked_at_twice() -> None:
    """Parsers merge a message that is repeated, and take the last of a number: neither may hide anything."""
    plain = model(inline()).SerializeToString()
    tensor = TensorProto(name="w").SerializeToString()
    hidden = tensor + b"\x70\x01" + b"\x70\x00"  # external, then not
    assert list(external_data(plain + field(7, field(5, hidden)))) == [""]
    entry = field(1, b"offset") + field(1, b"location") + field(2, b"a") + field(2, b"b")
    assert list(external_data(plain + field(7, field(5, tensor + field(13, entry))))) == ["a", "b"]


MALFORMED = [
    b"", b"\x00", b"not a model at all", b"\x0b\x0c", b"\x3a\x7f", b"\x3a", b"\xff" * 30, b"\x80\x80\x80\x80\x10\x00",
    b"ORTM" * 10,
]  # fmt: skip


@pytest.mark.parametrize("content", MALFORMED)
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(external_data(content))


def test_graphs_nested_without_end_are_refused() -> None:
    content = b""
    for _ in range(200):
        content = field(1, field(5, field(6, content)))
    with pytest.raises(ValueError, match="messages deep"):
        list(external_data(field(7, content)))


@given(st.binary(max_size=300), st.integers(0, 300), st.booleans())
def test_any_bytes_are_walked_or_refused(noise: bytes, at: int, spoil: bool) -> None:
    """Nothing but ValueError comes out; and where ONNX's own parser sees external data, the walk has seen it."""
    good = model(external("elsewhere")).SerializeToString()
    content = good[:at] + noise + good[at:] if spoil else noise
    try:
        found = list(external_data(content))
    except ValueError:
        return
    try:
        parsed = onnx.ModelProto.FromString(content)
    except Exception:  # protobuf refuses it, and so will ONNX Runtime
        return
    for tensor in parsed.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            assert found


@pytest.mark.parametrize("name", [bundle.MODEL, bundle.GOLDEN, bundle.MANIFEST, "weights"])
def test_a_link_in_a_bundle_is_refused(tmp_path: Path, name: str) -> None:
    path, manifest = write(tmp_path / "b", model(external("weights")).SerializeToString(), weights=bytes(8))
    moved = tmp_path / "elsewhere"
    (path.parent / name).rename(moved)
    (path.parent / name).symlink_to(moved)
    with pytest.raises(BundleError, match=f"{name}: a link or no plain file"):
        refuse_external_data(path, manifest)


def test_pipes_folders_and_empty_files_are_refused(tmp_path: Path) -> None:
    path, manifest = write(tmp_path, model(external("weights")).SerializeToString(), weights=bytes(8))
    (tmp_path / "weights").unlink()
    with pytest.raises(BundleError, match="No such file"):
        refuse_external_data(path, manifest)
    os.mkfifo(tmp_path / "weights")
    with pytest.raises(BundleError, match="no plain file"):
        refuse_external_data(path, manifest)
    (tmp_path / "weights").unlink()
    (tmp_path / "weights").touch()
    with pytest.raises(BundleError, match="has 0 bytes"):
        refuse_external_data(path, manifest)


def test_files_that_are_too_large_are_refused_unread(tmp_path: Path) -> None:
    path, manifest = write(tmp_path, model(inline()).SerializeToString())
    with path.open("ab") as file:
        file.truncate(onnx_file.MAX_FILE_BYTES + 1)  # sparse: takes no room
    with pytest.raises(BundleError, match="has 1,073,741,825 bytes, not 1 to"):
        refuse_external_data(path, manifest)


def test_golden_answers_that_unpack_to_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, manifest = write(tmp_path, model(inline()).SerializeToString())
    with zipfile.ZipFile(tmp_path / bundle.GOLDEN, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(2_000_000))
    assert (tmp_path / bundle.GOLDEN).stat().st_size < 10_000
    refuse_external_data(path, manifest)
    monkeypatch.setattr(onnx_file, "MAX_GOLDEN_BYTES", 1_999_999)
    with pytest.raises(BundleError, match="unpacks to 2,000,000 bytes"):
        refuse_external_data(path, manifest)
