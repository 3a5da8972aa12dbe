"""Empty handlers behind the project's own transport: what the machine can carry at most.

Check and ext_authz allow everything; an access log is read and forgotten.
"""

import sys
from typing import Any

import grpc
import uvloop

from adapters.envoy.service import ACCESS_LOG, AUTHORIZATION
from adapters.envoy.v1 import wire_pb2
from pdp.serve.transport import bind, make_server
from pdp.v1 import policy_decision_pb2 as pb
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc

_ANSWER = pb.CheckResponse(decision=pb.DECISION_ALLOW, reason="ok", http_status=200)
_OK = wire_pb2.CheckResponse(ok_response=wire_pb2.CheckResponse().ok_response)


class Echo(pb_grpc.PolicyDecisionServiceServicer):
    async def Check(self, request: Any, context: Any) -> pb.CheckResponse:  # noqa: N802
        return _ANSWER

    async def Report(self, request: Any, context: Any) -> pb.ReportResponse:  # noqa: N802
        return pb.ReportResponse()


async def authorize(request: Any, context: Any) -> wire_pb2.CheckResponse:
    """Let everything through."""
    return _OK


async def forget(messages: Any, context: Any) -> wire_pb2.StreamAccessLogsResponse:
    """Read a log to its end."""
    async for _ in messages:
        pass
    return wire_pb2.StreamAccessLogsResponse()


def add_envoy(server: Any) -> None:
    """Add what Envoy calls; streams are found by the generic handlers on either transport."""
    for service, method, handler in (
        (
            AUTHORIZATION,
            "Check",
            grpc.unary_unary_rpc_method_handler(
                authorize,
                request_deserializer=wire_pb2.CheckRequest.FromString,
                response_serializer=wire_pb2.CheckResponse.SerializeToString,
            ),
        ),
        (
            ACCESS_LOG,
            "StreamAccessLogs",
            grpc.stream_unary_rpc_method_handler(
                forget,
                request_deserializer=wire_pb2.StreamAccessLogsMessage.FromString,
                response_serializer=wire_pb2.StreamAccessLogsResponse.SerializeToString,
            ),
        ),
    ):
        handlers = {method: handler}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_registered_method_handlers(service, handlers)


async def main(transport: str) -> None:
    server = make_server(transport)  # type: ignore[arg-type]
    pb_grpc.add_PolicyDecisionServiceServicer_to_server(Echo(), server)
    add_envoy(server)
    print(bind(server, "127.0.0.1:0", "address"), flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
