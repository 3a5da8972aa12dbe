"""`pdp check`: ask a running server what it would decide, and why."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from pdp.cli import check_options as of
from pdp.cli.common import Json, run, say_json
from pdp.cli.decision import say_decision
from pdp.cli.dial import Dial, Server, TlsCa, TlsCert, TlsKey, TlsName
from pdp.errors import PdpError

if TYPE_CHECKING:
    from pdp.v1.policy_decision_pb2 import CheckRequest, CheckResponse

_USUAL_VARIABLE = "VISCA_API_KEY"
_UNDECIDED = 2
_TIMEOUT = 10.0


def check(
    action: of.Action = "chat:completions",
    model: of.Model = "",
    provider: of.Provider = "",
    ip_address: of.IpAddress = "",
    prompt_tokens: of.PromptTokens = 0,
    max_tokens: of.MaxTokens = None,
    metadata: of.Metadata = None,
    api_key_env: of.ApiKeyEnv = _USUAL_VARIABLE,
    api_key_stdin: of.ApiKeyStdin = False,
    reserve: of.Reserve = False,
    server: Server = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    json: Json = False,
) -> None:
    """Ask a running server whether it allows a request: --dry-run, unless --reserve is given.

    Sends PDP_CALLER_TOKEN if it is set. Exit status 0: allowed, 1: denied, 2: no answer.
    """
    from pdp.v1.policy_decision_pb2 import CheckRequest

    dial = Dial(server, tls_ca, tls_cert, tls_key, tls_name)
    try:
        request = CheckRequest(
            api_key=_api_key(api_key_env, from_stdin=api_key_stdin),
            action=action,
            model=model,
            provider=provider,
            client_ip=ip_address,
            estimated_prompt_tokens=prompt_tokens,
            max_output_tokens=max_tokens,
            metadata=_metadata(metadata or []),
            dry_run=not reserve,
        )
        _tell(_answer(request, dial), dry_run=not reserve, json=json)
    except PdpError as error:
        _fail(error)


def _fail(error: PdpError) -> NoReturn:
    typer.echo(f"pdp: {error}", err=True)
    raise typer.Exit(_UNDECIDED) from error


def _answer(request: "CheckRequest", dial: Dial) -> "CheckResponse":
    answers: list[CheckResponse] = []

    async def work() -> None:
        answers.append(await _ask(request, dial))

    run(work())
    return answers[0]


def _tell(answer: "CheckResponse", *, dry_run: bool, json: bool) -> None:
    """Print an answer; a denial ends the command with its status."""
    from pdp.v1 import policy_decision_pb2 as pb

    allowed = answer.decision == pb.DECISION_ALLOW
    shown = _shown(answer, allowed=allowed, dry_run=dry_run)
    if json:
        say_json(shown)
    else:
        say_decision(shown)
    if not allowed:
        raise typer.Exit(1)


def _api_key(variable: str, *, from_stdin: bool) -> str:
    """Return the raw key. No message repeats what was given: it may be the key itself."""
    if from_stdin:
        data = sys.stdin.buffer.readline(1000).strip()
        if not data.isascii() or not data:
            raise PdpError("stdin has no key in its first line: write the raw key, nothing else")
        return data.decode()
    found = os.environ.get(variable, "").strip()
    if not found:
        which = f"`{variable}`" if variable == _USUAL_VARIABLE else "that --api-key-env names"
        raise PdpError(
            f"the variable {which} is not set: put the raw key into it, or use --api-key-stdin"
        )
    return found


def _metadata(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise PdpError(f"--metadata `{pair[:80]}` is no pair: write NAME=VALUE")
        found[name] = value
    return found


async def _ask(request: "CheckRequest", dial: Dial) -> "CheckResponse":
    import grpc

    from pdp.settings import load_settings
    from pdp.v1 import policy_decision_pb2_grpc as pb_grpc

    settings = load_settings()
    address = dial.address(settings)
    token = settings.caller_token
    told = [("authorization", f"Bearer {token.reveal()}")] if token else []
    try:
        async with asyncio.timeout(_TIMEOUT + 1), dial.open(settings) as channel:
            stub = pb_grpc.PolicyDecisionServiceStub(channel)
            answer: CheckResponse = await stub.Check(request, timeout=_TIMEOUT, metadata=told)
            return answer
    except grpc.aio.AioRpcError as error:
        raise PdpError(_fault(error.code().name, error.details() or "", address)) from error
    except (grpc.aio.UsageError, TimeoutError, ValueError, UnicodeError) as error:
        raise PdpError(_fault("UNAVAILABLE", "", address)) from error


def _fault(code: str, details: str, address: str) -> str:
    from pdp.tls import handshake_fault

    if code == "UNAUTHENTICATED":
        return f"`{address}` asks who calls: set PDP_CALLER_TOKEN as the server has it"
    if fault := handshake_fault(details):
        return f"`{address}` cannot be spoken to by TLS: {fault}: see --tls-ca and --tls-name"
    if "Socket closed" in details:
        return (
            f"`{address}` closes the connection: it may want TLS (--tls-ca), or a certificate "
            "(--tls-cert, --tls-key)"
        )
    if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        return f"no answer from `{address}`: does `pdp serve` run there? else say --server"
    return f"`{address}` did not decide: {details or code.lower()}"


def _shown(answer: "CheckResponse", *, allowed: bool, dry_run: bool) -> dict[str, Any]:
    waits = answer.HasField("retry_after")
    return {
        "decision": "allow" if allowed else "deny",
        "reason": answer.reason,
        "message": answer.message,
        "http_status": answer.http_status,
        "matched_statement": answer.matched_statement or None,
        "key_id": answer.key_id,
        "key_name": answer.key_name,
        "dry_run": dry_run,
        "decision_id": answer.decision_id,
        "reservation_id": answer.reservation_id or None,
        "retry_after": answer.retry_after.ToNanoseconds() / 1e9 if waits else None,
        "limits": [
            {
                "name": each.name,
                "key_id": each.key_id,
                "unit": each.unit,
                "limit": each.limit,
                "spent": each.spent,
                "held": each.held,
                "remaining": each.remaining,
                "reset_at": each.reset_at.ToJsonString() if each.HasField("reset_at") else None,
            }
            for each in answer.limits
        ],
    }
