"""The gRPC service `inference.GRPCInferenceService`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import grpc

from server.inference import grpc_service_pb2 as pb
from server.inference.signature import Signature, Tensor, parse
from server.inference.tensors import to_contents, to_raw
from server.models.model import Model
from server.models.registry import Models
from server.models.repository import Repository
from shoprank import bundle
from shoprank.errors import NotFound

PLATFORM = "onnxruntime_onnx"


class Inference:
    """Answers tensors by the loaded versions of every model of the repository.

    max_rows: of a request. is_serving: whether the server answers calls, as its health says.
    """

    def __init__(self, models: Repository, max_rows: int, is_serving: Callable[[], bool]) -> None:
        self._models = models
        self._max_rows = max_rows
        self._is_serving = is_serving

    def ServerLive(self, request: pb.ServerLiveRequest, context: grpc.ServicerContext) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request: pb.ServerReadyRequest, context: grpc.ServicerContext) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._is_serving() and self._models.served.active is not None)

    def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="shoprank", version=version("shoprank"))

    def ModelReady(self, request: pb.ModelReadyRequest, context: grpc.ServicerContext) -> pb.ModelReadyResponse:
        models = self._models.find(request.name)
        if not request.version:
            return pb.ModelReadyResponse(ready=models.active is not None)
        number = _number(models, request.version)
        loaded = models.versions.of(number) is not None
        if not loaded and number not in bundle.versions(models.repository, models.name):
            raise NotFound(f"model {models.name}: no version {request.version}")
        return pb.ModelReadyResponse(ready=loaded)

    def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ModelMetadataResponse:
        models = self._models.find(request.name)
        signature = Signature.of(_chosen(models, request.version).session)
        return pb.ModelMetadataResponse(
            name=models.name,
            versions=map(str, models.versions.numbers()),
            platform=PLATFORM,
            inputs=map(_described, signature.inputs.values()),
            outputs=map(_described, signature.outputs.values()),
        )

    def ModelInfer(self, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        model = _chosen(self._models.find(request.model_name), request.model_version)
        asked = parse(request, Signature.of(model.session), self._max_rows)
        answers = model.session.run([output.name for output in asked.outputs], asked.feeds)
        reply = pb.ModelInferResponse(
            model_name=model.manifest.model, model_version=str(model.manifest.version), id=request.id
        )
        for output, answer in zip(asked.outputs, answers, strict=True):
            tensor = reply.outputs.add(name=output.name, datatype=output.datatype.name, shape=answer.shape)
            if asked.raw:
                reply.raw_output_contents.append(to_raw(answer, output.datatype))
            else:
                tensor.contents.CopyFrom(to_contents(answer, output.datatype))
        return reply


def _chosen(models: Models, version: str) -> Model:
    """The version, the active one where the text is empty. Raises NotFound where it is not loaded."""
    model = models.versions.of(_number(models, version)) if version else models.active
    if model is None:
        loaded = ", ".join(map(str, models.versions.numbers())) or "none"
        raise NotFound(f"model {models.name}: version {version or 'active'} is not loaded; loaded: {loaded}")
    return model


def _number(models: Models, version: str) -> int:
    if not bundle.VERSION.fullmatch(version):
        raise NotFound(f"model {models.name}: no version {version!r:.40}; versions are whole numbers from 1")
    return int(version)


def _described(tensor: Tensor) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=tensor.datatype.name, shape=tensor.shape)
