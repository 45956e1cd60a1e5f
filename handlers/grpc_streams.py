"""Ends TorchServe's streaming gRPC calls without ending the worker."""

from typing import Any


def end_streams(context: Any, count: int) -> None:
    """Mark the answers to gRPC as the last of their stream, and withhold those that cannot be sent.

    count: of the batch's items, whose answers are ready.
    TorchServe 0.12 ends a worker whose answer to `StreamPredictions` does not say whether more messages follow. Of REST
    it makes a chunked response by the same mark, so that gRPC alone may have it: it comes without HTTP headers.
    `StreamPredictions2` is not supported. TorchServe closes its stream as soon as the client has sent everything, and
    ends a worker that answers later. Nobody answers a request that is no longer in the batch.
    """
    for index in range(count):
        # Parameters stand among the headers too, each with a dict.
        headers = {name for name, value in context.get_all_request_header(index).items() if isinstance(value, str)}
        if not headers:
            context.set_response_header(index, "ts_stream_next", "false")
        elif headers <= {
            context.header_key_sequence_id,
            context.header_key_sequence_start,
            context.header_key_sequence_end,
        }:
            del context.request_ids[index]
