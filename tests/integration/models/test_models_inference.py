"""The Open Inference Protocol, asked by an unmodified tritonclient: in the server's process and in one of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.grpc as triton
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from feature_repo.schema import NUMERIC
from server.inference import grpc_service_pb2
from shoprank import bundle
from tests.conftest import Shop
from tests.integration.models.conftest import Served
from tests.unit.training.table.tables import mixed, write_csv
from training.settings import Settings
from training.table.train import train_table

WIDTH = len(NUMERIC)
OUTPUTS = ("probability", "logit", "embedding")


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a table model."""
    root = tmp_path_factory.mktemp("table")
    made = train_table(
        write_csv(root / "table.csv", mixed()), "bought", root / "models", "table",
        settings=lambda rows: Settings(epochs=2, batch_size=128, min_count=2),
    )  # fmt: skip
    assert made.bundle.name == "1"
    return root / "models"


@pytest.fixture
def served(serve: Callable[..., Served], repository: Path, table: Path) -> Served:
    """A server of the ranking model and of the table model."""
    shutil.copytree(table / "table", repository / "table", symlinks=True)
    served = serve()
    end = time.monotonic() + 20
    while served.running.models.find("table").active is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    return served


@pytest.fixture
def client(served: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.address) as client:
        yield client


def golden(repository: Path, model: str, version: str = "1") -> dict[str, Any]:
    """Golden inputs and answers of a bundle."""
    with np.load(repository / model / version / bundle.GOLDEN) as kept:
        return {n: kept[n].astype(object) if kept[n].dtype.kind == "U" else kept[n] for n in kept}


def inputs(arrays: dict[str, Any]) -> list[triton.InferInput]:
    """The arrays as tritonclient sends them: raw."""
    made = []
    for name in ("numeric", "categorical"):
        array = arrays[name]
        datatype = {"f": "FP32", "i": "INT64", "O": "BYTES"}[array.dtype.kind]
        made.append(triton.InferInput(name, list(array.shape), datatype))
        made[-1].set_data_from_numpy(array)
    return made


def test_the_server_and_its_models_are_live_ready_and_described(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("purchase")
    assert client.is_model_ready("purchase", "1")
    assert not client.is_model_ready("purchase", "2")
    assert client.is_model_ready("table")
    assert client.get_server_metadata(as_json=True)["name"] == "shoprank"
    ranking = client.get_model_metadata("purchase", as_json=True)
    assert (ranking["versions"], ranking["platform"]) == (["1"], "onnxruntime_onnx")
    assert [(i["name"], i["datatype"], i["shape"]) for i in ranking["inputs"]] == [
        ("numeric", "FP32", ["-1", str(WIDTH)]),
        ("categorical", "INT64", ["-1", "12"]),
    ]
    assert [(o["name"], o["datatype"], o["shape"]) for o in ranking["outputs"]] == [
        ("probability", "FP32", ["-1"]),
        ("logit", "FP32", ["-1"]),
        ("embedding", "FP32", ["-1", "64"]),
    ]
    assert [i["datatype"] for i in client.get_model_metadata("table", as_json=True)["inputs"]] == ["FP32", "BYTES"]


@pytest.mark.parametrize("model", ["purchase", "table"])
@pytest.mark.parametrize("rows", [1, 2, 64])
def test_raw_tensors_get_the_answers_of_the_bundle(
    client: triton.InferenceServerClient, repository: Path, model: str, rows: int
) -> None:
    known = golden(repository, model)
    head = {name: array[:rows] for name, array in known.items()}
    found = client.infer(model, inputs(head), request_id="call 7")
    assert found.get_response().id == "call 7"
    assert found.get_response().model_version == "1"
    for output in OUTPUTS:
        np.testing.assert_allclose(found.as_numpy(output), head[output], atol=1e-5)


@pytest.mark.parametrize("model", ["purchase", "table"])
def test_typed_tensors_get_typed_answers(served: Served, repository: Path, model: str) -> None:
    known = golden(repository, model)
    request = service_pb2.ModelInferRequest(model_name=model, id="typed")
    categories = ("bytes_contents", "BYTES") if model == "table" else ("int64_contents", "INT64")
    for name, field, datatype in (("numeric", "fp32_contents", "FP32"), ("categorical", *categories)):
        tensor = request.inputs.add(name=name, datatype=datatype, shape=known[name].shape)
        values = known[name].ravel().tolist()
        getattr(tensor.contents, field).extend([v.encode() for v in values] if datatype == "BYTES" else values)
    with grpc.insecure_channel(served.address) as channel:
        reply = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert not reply.raw_output_contents
    assert [o.name for o in reply.outputs] == list(OUTPUTS)
    for output in reply.outputs:  # tritonclient's own InferResult reads typed texts alone
        found = np.array(output.contents.fp32_contents).reshape(tuple(output.shape))
        np.testing.assert_allclose(found, known[output.name], atol=1e-5)


def test_the_outputs_asked_for_come_in_that_order(client: triton.InferenceServerClient, repository: Path) -> None:
    asked = [triton.InferRequestedOutput(name) for name in ("logit", "probability")]
    reply = client.infer("purchase", inputs(golden(repository, "purchase")), outputs=asked).get_response()
    assert [o.name for o in reply.outputs] == ["logit", "probability"]


def test_parameters_are_taken_and_ignored(client: triton.InferenceServerClient, repository: Path) -> None:
    given = inputs(golden(repository, "purchase"))
    client.infer("purchase", given, parameters={"campaign": "spring", "n": 3, "on": True, "share": 0.5})


def test_a_version_is_chosen_or_the_active_one(served: Served, client: triton.InferenceServerClient) -> None:
    repository = served.repository
    rows = inputs(golden(repository, "purchase"))
    served.admin.activate("purchase", 2)
    answers = {}
    for version in ("", "1", "2"):
        found = client.infer("purchase", rows, model_version=version)
        answers[version] = found.as_numpy("logit")
        assert found.get_response().model_version == (version or "2")
    np.testing.assert_array_equal(answers[""], answers["2"])
    session = ort.InferenceSession(str(repository / "purchase" / "2" / bundle.MODEL))
    known = golden(repository, "purchase")
    (expected,) = session.run(["logit"], {n: known[n] for n in ("numeric", "categorical")})
    np.testing.assert_allclose(answers["2"], expected, atol=1e-5)
    assert np.abs(answers["1"] - answers["2"]).max() > 1e-3


def test_what_is_not_there_is_not_found(client: triton.InferenceServerClient, repository: Path) -> None:
    rows = inputs(golden(repository, "purchase"))
    calls: tuple[Callable[[], object], ...] = (
        lambda: client.infer("nothing", rows),
        lambda: client.infer("purchase", rows, model_version="9"),
        lambda: client.infer("purchase", rows, model_version="2"),
        lambda: client.infer("purchase", rows, model_version="new"),
        lambda: client.get_model_metadata("purchase", "9"),
        lambda: client.get_model_metadata("nothing"),
        lambda: client.is_model_ready("nothing"),
        lambda: client.is_model_ready("x" * 100_000),
        lambda: client.infer("ж" * 50_000, rows),
        lambda: client.is_model_ready("purchase", "9"),
    )
    for call in calls:
        with pytest.raises(InferenceServerException) as error:
            call()
        assert error.value.status() == "StatusCode.NOT_FOUND"


def bad_requests(known: dict[str, Any]) -> dict[str, tuple[service_pb2.ModelInferRequest, str]]:
    """Requests that do not fit, each with what the error must name."""
    numeric, categorical = known["numeric"], known["categorical"]

    def request(*tensors: tuple[str, str, list[int], bytes], outputs: tuple[str, ...] = ()) -> Any:
        made = service_pb2.ModelInferRequest(model_name="purchase")
        for name, datatype, shape, content in tensors:
            made.inputs.add(name=name, datatype=datatype, shape=shape)
            made.raw_input_contents.append(content)
        for name in outputs:
            made.outputs.add(name=name)
        return made

    x = ("numeric", "FP32", list(numeric.shape), numeric.tobytes())
    c = ("categorical", "INT64", list(categorical.shape), categorical.tobytes())
    too_many = request(x, c)
    too_many.raw_input_contents.append(b"")
    much = request(("numeric", "FP64", [64, WIDTH], b""), outputs=("price",))
    much.raw_input_contents.append(b"")
    both = request(x, c)
    both.inputs[0].contents.fp32_contents.append(1)
    typed = service_pb2.ModelInferRequest(model_name="purchase")
    typed.inputs.add(name="numeric", datatype="FP32", shape=[1, WIDTH]).contents.int64_contents.extend([1] * WIDTH)
    typed.inputs.add(name="categorical", datatype="INT64", shape=[1, 12]).contents.int64_contents.extend([1] * 11)
    return {
        "missing input": (request(x), "lack 'categorical'"),
        "no input": (request(), "lack 'numeric'"),
        "unknown input": (request(x, c, ("age", "FP32", [64, 1], b"")), "inputs[2] 'age' is no input"),
        "an input twice": (request(x, c, x), "inputs[2] 'numeric' is given twice"),
        "wrong datatype": (request(("numeric", "FP64", [64, WIDTH], b""), c), "is of datatype 'FP64', not FP32"),
        "wrong width": (
            request(("numeric", "FP32", [64, WIDTH - 1], b""), c),
            f"is of shape [64, {WIDTH - 1}], not [-1, {WIDTH}]",
        ),
        "wrong rank": (request(("numeric", "FP32", [64], b""), c), f"is of shape [64], not [-1, {WIDTH}]"),
        "no rows": (request(("numeric", "FP32", [0, WIDTH], b""), c), "has 0 rows, not 1 to 5000"),
        "negative rows": (request(("numeric", "FP32", [-1, WIDTH], b""), c), "has -1 rows"),
        "too many rows": (request(("numeric", "FP32", [5001, WIDTH], b""), c), "has 5001 rows, not 1 to 5000"),
        "far too many rows": (request(("numeric", "FP32", [2**62, WIDTH], b""), c), "rows, not 1 to 5000"),
        "different rows": (request(x, ("categorical", "INT64", [1, 12], b"\0" * 96)), "differ in their rows"),
        "raw too short": (
            request(x, (*c[:3], c[3][:-1])), f"'categorical' in raw_input_contents[1] has {len(c[3]) - 1} bytes",
        ),
        "raw for more inputs": (too_many, "raw_input_contents has 3 entries for 2 inputs"),
        "raw for more, and more bad": (much, "not FP32; inputs lack 'categorical'; outputs[0] 'price' is no"),
        "raw and typed": (both, "inputs[0] 'numeric' has contents, though there are raw_input_contents"),
        "typed of another type": (typed, "'numeric' has int64_contents, but FP32 goes into fp32_contents"),
        "typed too short": (typed, "'categorical' has 11 elements, not 12"),
        "unknown output": (request(x, c, outputs=("logit", "price")), "outputs[1] 'price' is no output"),
        "an output twice": (request(x, c, outputs=("logit", "logit")), "outputs[1] 'logit' is asked for twice"),
    }  # fmt: skip


def test_what_does_not_fit_is_an_invalid_argument_that_names_it_before_anything_runs(
    served: Served, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[object] = []
    run = ort.InferenceSession.run

    def watched(*given: Any) -> Any:
        ran.append(given)
        return run(*given)

    monkeypatch.setattr(ort.InferenceSession, "run", watched)
    with grpc.insecure_channel(served.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for name, (request, named) in bad_requests(golden(repository, "purchase")).items():
            with pytest.raises(grpc.RpcError) as error:
                stub.ModelInfer(request)
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT, name
            assert named in (error.value.details() or ""), name
    assert ran == []


def test_malformed_texts_are_named(served: Served, repository: Path) -> None:
    known = golden(repository, "table")
    request = service_pb2.ModelInferRequest(model_name="table")
    for name, datatype in (("numeric", "FP32"), ("categorical", "BYTES")):
        request.inputs.add(name=name, datatype=datatype, shape=[1, known[name].shape[1]])
    request.raw_input_contents.append(known["numeric"][:1].tobytes())
    request.raw_input_contents.append(b"\xff\xff\xff\xff")
    with grpc.insecure_channel(served.address) as channel, pytest.raises(grpc.RpcError) as error:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "raw_input_contents[1] element 0 does not end" in (error.value.details() or "")


def test_the_messages_are_those_of_the_protocol() -> None:
    """Every field of ours has the name, number and type that tritonclient's has."""
    for name, ours in grpc_service_pb2.DESCRIPTOR.message_types_by_name.items():
        _same_message(ours, service_pb2.DESCRIPTOR.message_types_by_name[name])
    (ours_service,) = grpc_service_pb2.DESCRIPTOR.services_by_name.values()
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    for method in ours_service.methods:
        other = theirs.methods_by_name[method.name]
        assert (method.input_type.full_name, method.output_type.full_name) == (
            other.input_type.full_name,
            other.output_type.full_name,
        )


def _same_message(ours: Any, theirs: Any) -> None:
    assert [(f.name, f.number, f.type, f.is_repeated) for f in ours.fields] == [
        (f.name, f.number, f.type, f.is_repeated) for f in theirs.fields
    ]
    for nested in ours.nested_types:
        _same_message(nested, theirs.nested_types_by_name[nested.name])


def test_the_service_is_known_by_reflection(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {"inference.GRPCInferenceService", "shoprank.v1.ModelService"} <= set(database.get_services())
        pool = descriptor_pool.DescriptorPool(database)
        method = pool.FindServiceByName("inference.GRPCInferenceService").FindMethodByName("ServerMetadata")
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ServerMetadata",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        reply: Any = call(message_factory.GetMessageClass(method.input_type)())
        assert reply.name == "shoprank"


APART = """
import json, sys
import numpy as np
import tritonclient.grpc as triton
address, path = sys.argv[1:]
with np.load(path) as kept:
    arrays = {name: kept[name] for name in ("numeric", "categorical")}
given = []
for name, datatype in (("numeric", "FP32"), ("categorical", "INT64")):
    given.append(triton.InferInput(name, list(arrays[name].shape), datatype))
    given[-1].set_data_from_numpy(arrays[name])
with triton.InferenceServerClient(address) as client:
    print(json.dumps(client.infer("purchase", given).as_numpy("probability").tolist()))
assert not any(name.partition(".")[0] in ("shoprank", "server") for name in sys.modules)
"""


def test_a_client_in_a_process_of_its_own_gets_the_same(served: Served, repository: Path) -> None:
    file = repository / "purchase" / "1" / bundle.GOLDEN
    command = [sys.executable, "-c", APART, served.address, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), golden(repository, "purchase")["probability"], atol=1e-5)


def test_a_table_model_is_listed_and_its_versions_change_while_it_serves(
    served: Served, client: triton.InferenceServerClient, repository: Path, trained: Shop
) -> None:
    (found,) = served.admin.list("table")
    assert (found.kind, found.served, found.active) == ("table", False, 1)
    assert [m.name for m in served.admin.list()] == ["purchase", "table"]
    shutil.copytree(repository / "table" / "1", repository / "table" / "2")
    manifest = json.loads((repository / "table" / "2" / "manifest.json").read_text())
    (repository / "table" / "2" / "manifest.json").write_text(json.dumps({**manifest, "version": 2}))
    served.admin.activate("table", 2)
    reply = client.infer("table", inputs(golden(repository, "table"))).get_response()
    assert reply.model_version == "2"
