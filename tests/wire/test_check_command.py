"""`pdp check` against a server, on both transports."""

import asyncio
import os
from pathlib import Path

import pytest

from pdp.serve.transport import Transport
from tests import commands
from tests.pki import Authority
from tests.unit.cli.conftest import Done
from tests.wire.harness import Desk, record, secured, serving

KEY = "vsk_test_leaf"
TOKEN = "a token of some length"


def desk() -> Desk:
    return Desk(
        record("root", budget_limits={"daily": 1.0}),
        record(KEY, parent_key_id="root", granted_by="root", permissions={"models": ["gpt-*"]}),
    )


async def run(folder: Path, *arguments: str, stdin: str = "", **variables: str) -> Done:
    """Run `pdp check` in a process of its own, as users do."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PDP_")}
    environment |= {"PDP_GRPC_LISTEN": f"unix:{folder}/pdp.sock", **variables}
    done = await asyncio.to_thread(commands.run, ("check", *arguments), environment, stdin)
    assert "Traceback" not in done.stderr
    assert KEY not in done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


async def test_it_says_what_a_server_decides_and_moves_nothing(
    transport: Transport, tmp_path: Path
) -> None:
    asked = desk()
    options = ("--model", "gpt-4o", "--max-tokens", "500", "--prompt-tokens", "1000")
    async with serving(asked, transport, tmp_path):
        allowed, denied = await asyncio.gather(
            run(tmp_path, *options, "--json", VISCA_API_KEY=KEY),
            run(tmp_path, "--model", "o3", "--api-key-stdin", stdin=f"{KEY}\n"),
        )
    found = allowed.json()
    assert (found["decision"], found["key_id"], found["dry_run"]) == ("allow", KEY, True)
    assert found["reservation_id"] is None
    (limit,) = found["limits"]
    assert (limit["name"], limit["key_id"], limit["held"]) == ("budget_limits.daily", "root", 0)
    assert limit["reset_at"] == "2026-11-24T00:00:00Z"
    assert denied.status == 1
    assert "deny (403)" in denied.out
    assert "model_not_allowed" in denied.out
    assert "budget_limits.daily" in denied.out
    assert asked.sink.records == []


async def test_reserve_is_real(transport: Transport, tmp_path: Path) -> None:
    asked = desk()
    async with serving(asked, transport, tmp_path):
        done = await run(tmp_path, "--model", "gpt-4o", "--reserve", VISCA_API_KEY=KEY)
    assert done.status == 0
    assert "held as    res_" in done.out
    assert len(asked.sink.records) == 1


async def test_the_caller_token_is_presented(transport: Transport, tmp_path: Path) -> None:
    options = ("--model", "gpt-4o", "--api-key-env", "MINE")
    async with serving(desk(), transport, tmp_path, TOKEN):
        refused, taken = await asyncio.gather(
            run(tmp_path, *options, MINE=KEY),
            run(tmp_path, *options, MINE=KEY, PDP_CALLER_TOKEN=TOKEN),
        )
    assert (refused.status, refused.out) == (2, "")
    assert "PDP_CALLER_TOKEN" in refused.err
    assert taken.status == 0


async def test_it_speaks_tls_and_shows_a_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("operator")
    mine = {"MINE": "root", "PDP_CHECK_TLS_CERT": str(shown.cert)}
    async with secured("auto", authority.issue("pdp"), authority.ca, None) as address:
        options = ("--model", "gpt-4o", "--api-key-env", "MINE", "--server", address)
        ca, named = ("--tls-ca", str(authority.ca)), ("--tls-name", "pdp")
        key = ("--tls-key", str(shown.key))
        allowed, other_name, half, plain = await asyncio.gather(
            run(tmp_path, *options, *ca, *named, *key, **mine),
            run(tmp_path, *options, *ca, *key, **mine),
            run(tmp_path, *options, *ca, **mine),
            run(tmp_path, *options, MINE="root"),
        )
    assert "allow (200)" in allowed.out
    assert [done.status for done in (allowed, other_name, half, plain)] == [0, 2, 2, 2]
    assert "its certificate has another name: see --tls-ca and --tls-name" in other_name.err
    assert "--tls-key: needed because PDP_CHECK_TLS_CERT is set" in half.err
    assert "it may want TLS (--tls-ca)" in plain.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no answer from `unix:"),
        (("--server", "127.0.0.1:1"), "no answer from `127.0.0.1:1`"),
        (("--server", "nonsense"), "no answer from `nonsense`"),
        (("--api-key-env", KEY), "the variable that --api-key-env names is not set"),
        (("--api-key-env", "VISCA_API_KEY"), "no answer from"),
        (("--api-key-stdin",), "stdin has no key"),
        (("--metadata", "x"), "--metadata `x` is no pair"),
        (("--max-tokens", "-1"), "--max-tokens"),
        (("--prompt-tokens", "1" * 30), "--prompt-tokens"),
        (("--api-key", KEY), "No such option"),
        (("--tls-cert", "x.crt", "--tls-key", "x.key"), "--tls-ca: needed because --tls-cert"),
        (("--tls-ca", "nowhere.crt"), "--tls-ca: cannot read `nowhere.crt`"),
    ],
)
async def test_without_an_answer_the_status_is_2(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = await run(tmp_path, *arguments, VISCA_API_KEY=KEY)
    assert (done.status, done.out) == (2, "")
    assert words in done.err


async def test_a_variable_that_is_not_set_is_told(tmp_path: Path) -> None:
    done = await run(tmp_path, VISCA_API_KEY="")
    assert (done.status, done.out) == (2, "")
    assert "the variable `VISCA_API_KEY` is not set" in done.err
