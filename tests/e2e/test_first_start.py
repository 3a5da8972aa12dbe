"""The first start of all, and a start without what the last one had."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.stack import Stack, check


def test_serve_makes_what_it_needs_and_init_may_come_later(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.launch()
    try:
        stack.wait_ready()
        assert "there is no organization, and so no key: run `pdp init`" in stack.log()
        assert stack.data_dir.stat().st_mode & 0o777 == 0o700
        assert (stack.data_dir / "pdp.db").stat().st_mode & 0o777 == 0o600
        stack.init()
        assert stack.json("keys", "get", stack.root["key_id"])["status"] == "active"
    finally:
        assert stack.stop() == 0


async def test_a_key_made_beside_a_server_that_came_first_is_known_to_it(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.launch()
    try:
        stack.wait_ready()
        stack.init()
        key = stack.create_key()["api_key"]
        async with stack.channel() as channel:
            answer = await check(channel, key)
        assert answer.key_name == "test"
    finally:
        assert stack.stop() == 0


def test_serve_does_not_make_a_pepper_where_one_is_lost(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.init()
    pepper = stack.data_dir / "pepper"
    pepper.unlink()
    started = time.monotonic()
    done = stack.run("serve")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("pdp: ")]
    assert [line.partition(": put back")[0] for line in lines] == [
        f"pdp: PDP_DATA_DIR: there is no `{pepper}`"
    ]
    assert not pepper.exists()
    assert time.monotonic() - started < 25  # It does not wait for what nobody will make.


@pytest.mark.parametrize("served", [False, True])
def test_what_is_there_can_be_read_where_nothing_can_be_written(
    tmp_path: Path, served: bool
) -> None:
    if os.geteuid() != 0:
        pytest.fail("needs root to mount: run the tests as root, or in a container")
    stack = Stack(tmp_path / "source")
    stack.folder.mkdir()
    root = stack.init()
    there = tmp_path / "there"
    there.mkdir()
    subprocess.run(["mount", "--bind", stack.data_dir, there], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", there], check=True)
        reader = Stack(tmp_path)
        reader.environment["PDP_DATA_DIR"] = str(there)
        if served:
            stack.start()
        assert [key["id"] for key in reader.json("keys", "list")["keys"]] == [root["key_id"]]
        assert reader.json("keys", "get", root["key_id"])["name"] == "root"
        assert len(reader.json("audit")["logs"]) == 1
        assert len(reader.json("usage")["usage"]) == 1
        refused = reader.run("keys", "create")
        assert refused.returncode != 0
        assert len(refused.stderr.strip().splitlines()) == 1
    finally:
        stack.stop()
        subprocess.run(["umount", there], check=True)
