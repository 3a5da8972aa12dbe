"""An empty Check handler behind the project's own transport: what the machine can carry at most."""

import sys
from typing import Any

import uvloop

from pdp.serve.transport import bind, make_server
from pdp.v1 import policy_decision_pb2 as pb
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc

_ANSWER = pb.CheckResponse(decision=pb.DECISION_ALLOW, reason="ok", http_status=200)


class Echo(pb_grpc.PolicyDecisionServiceServicer):
    async def Check(self, request: Any, context: Any) -> pb.CheckResponse:  # noqa: N802
        return _ANSWER

    async def Report(self, request: Any, context: Any) -> pb.ReportResponse:  # noqa: N802
        return pb.ReportResponse()


async def main(transport: str) -> None:
    server = make_server(transport)  # type: ignore[arg-type]
    pb_grpc.add_PolicyDecisionServiceServicer_to_server(Echo(), server)
    print(bind(server, "127.0.0.1:0", "address"), flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
