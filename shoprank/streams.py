"""Rankings over a stream: requests go out while answers come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import grpc
import grpc.aio

from shoprank import results
from shoprank.errors import InvalidRequest
from shoprank.requests import RankRequest, message_of, typed
from shoprank.v1 import ranking_pb2, ranking_pb2_grpc


class _Sent:
    """Makes the messages of a stream. gRPC takes them in a thread of its own and says nothing of what is raised there:
    the call is ended, and the error kept for whoever reads the answers."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.end: Callable[[], object] = lambda: None

    def messages(self, requests: Iterable[RankRequest]) -> Iterator[ranking_pb2.RankItemsRequest]:
        try:
            for place, request in enumerate(requests):
                yield message_of(request, place)
        except Exception as error:
            self._stop(error)

    async def messages_async(
        self, requests: AsyncIterator[RankRequest] | Iterable[RankRequest]
    ) -> AsyncIterator[ranking_pb2.RankItemsRequest]:
        place = 0
        try:
            async for request in _asynchronous(requests):
                yield message_of(request, place)
                place += 1
        except Exception as error:
            self._stop(error)

    def _stop(self, error: Exception) -> None:
        self.error = error
        if not isinstance(error, InvalidRequest):  # requests before a bad one are still answered, as the server does
            self.end()


def ranked(
    stub: ranking_pb2_grpc.RankingServiceStub, requests: Iterable[RankRequest], timeout: float | None
) -> Iterator[results.Ranking]:
    """See `shoprank.Client.rank_stream`."""
    sent = _Sent()
    call = stub.StreamRankItems(sent.messages(requests), timeout=timeout)
    sent.end = call.cancel
    try:
        for reply in call:
            yield results.ranking(reply)
    except grpc.RpcError as error:
        if sent.error is None:
            raise typed(error) from error
    finally:
        call.cancel()  # type: ignore[no-untyped-call]  # the stubs lack it
    if sent.error is not None:
        raise sent.error


async def ranked_async(
    stub: ranking_pb2_grpc.RankingServiceAsyncStub,
    requests: AsyncIterator[RankRequest] | Iterable[RankRequest],
    timeout: float | None,
) -> AsyncIterator[results.Ranking]:
    """See `shoprank.AsyncClient.rank_stream`."""
    sent = _Sent()
    call = stub.StreamRankItems(sent.messages_async(requests), timeout=timeout)
    sent.end = call.cancel
    try:
        async for reply in call:
            yield results.ranking(reply)
    except grpc.aio.AioRpcError as error:
        if sent.error is None:
            raise typed(error) from error
    except asyncio.CancelledError:  # of the call that was ended, or of this task
        task = asyncio.current_task()
        if sent.error is None or (task is not None and task.cancelling()):
            raise
    finally:
        call.cancel()
    if sent.error is not None:
        raise sent.error


async def _asynchronous(requests: AsyncIterator[RankRequest] | Iterable[RankRequest]) -> AsyncIterator[RankRequest]:
    if isinstance(requests, Iterable):
        for request in requests:
            yield request
    else:
        async for request in requests:
            yield request
