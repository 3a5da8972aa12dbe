"""A raw key is in the answer that made it, and nowhere else."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import requests

from pdp.v1 import policy_decision_pb2 as pb
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc
from tests.stack import Stack, check, eventually, report


def _command_lines() -> str:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


def _ask_the_admin_api(stack: Stack, raw: str, key_id: str) -> list[str]:
    """Send a key in every way, right and wrong, over HTTP; return all that comes back."""
    base = f"http://127.0.0.1:{stack.http_port}"
    root = {"authorization": f"Bearer {stack.root['api_key']}"}
    mine = {"x-api-key": raw, "x-request-id": raw, "user-agent": raw, "idempotency-key": raw}
    asked: list[tuple[str, str, dict[str, str], Any]] = [
        ("GET", f"/v1/api-keys/{key_id}", mine, None),
        ("GET", f"/v1/api-keys/{key_id}?key={raw}", mine, None),
        ("GET", f"/{raw}", mine, None),
        ("GET", f"/v1/api-keys/{raw}", root, None),
        ("DELETE", f"/v1/api-keys/{raw}", root, None),
        ("GET", "/v1/api-keys", root, None),
        ("GET", f"/v1/api-keys?limit={raw}", root, None),
        ("GET", "/v1/api-keys", mine | {"authorization": f"Basic {raw}"}, None),
        ("GET", "/v1/api-keys", root | {"api-key": raw}, None),
        ("POST", "/v1/api-keys", mine, {"name": "child"}),
        ("POST", "/v1/api-keys", root | {"content-type": raw}, {}),
        ("POST", "/v1/api-keys", root | {"idempotency-key": raw}, {}),
        ("POST", "/v1/api-keys", root | {"if-match": raw}, {"name": "named"}),
        ("PATCH", f"/v1/api-keys/{key_id}", root | {"if-match": raw}, {}),
        (raw, "/v1/api-keys", root, None),
    ]
    answers = [
        requests.request(method, base + path, headers=headers, json=body, timeout=20)
        for method, path, headers, body in asked
    ]
    assert any(answer.status_code == 200 for answer in answers)
    return [f"{answer.headers}{answer.text}" for answer in answers]


async def test_a_raw_key_is_nowhere(stack: Stack) -> None:
    stack.environment["PDP_LOG_LEVEL"] = "debug"
    key = stack.create_key(name="canary", rate_limits={"per_minute": 3})
    raw = key["api_key"]
    secret = raw.rsplit("_", 1)[1]
    stack.start()
    outputs: list[str] = [_command_lines()]
    async with stack.channel() as channel:
        answers = [await check(channel, raw, request_id=f"r{number}") for number in range(5)]
        answers.append(await check(channel, raw, model="no such model\n"))
        answers.append(await check(channel, raw + "x"))
        await report(channel, {"reservation_id": answers[0].reservation_id, "prompt_tokens": 5})
        stub = pb_grpc.PolicyDecisionServiceStub(channel)
        try:
            await stub.Check(pb.CheckRequest(api_key=raw, max_output_tokens=-1))
        except grpc.aio.AioRpcError as error:
            outputs.append(str(error))
        outputs.extend(map(str, answers))
        outputs.append(stack.get("/metrics")[1])
        outputs.extend(_ask_the_admin_api(stack, raw, key["id"]))
        stack.kill("control")
        outputs.append(str(await check(channel, raw)))
        stack.run("keys", "revoke", key["id"])
        outputs.append(str(await check(channel, raw)))
    eventually(lambda: len(stack.audit()) >= 6, "the ledger has it")
    for arguments in (("keys", "list"), ("keys", "get", key["id"]), ("audit",), ("usage",)):
        for form in ((), ("--json",)):
            done = stack.run(*arguments, *form)
            outputs.append(done.stdout + done.stderr)
    stack.stop()
    outputs.append(stack.log())
    await asyncio.sleep(0)
    for text in outputs:
        assert secret not in text
    files = [path for path in stack.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    for path in files:
        assert secret.encode() not in path.read_bytes(), path
