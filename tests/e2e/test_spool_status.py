"""`pdp spool status`, beside a server and without one."""

import shutil

from tests.stack import Stack, check, eventually, report


async def work(stack: Stack, api_key: str, count: int = 3) -> None:
    async with stack.channel() as channel:
        for _ in range(count):
            answer = await check(channel, api_key)
            await report(channel, {"reservation_id": answer.reservation_id})


async def test_it_tells_what_waits_and_where_all_of_it_is(stack: Stack) -> None:
    done = stack.run("spool", "status")
    assert done.returncode == 1
    assert "there is no spool" in done.stderr
    key = stack.create_key()
    stack.start()
    await work(stack, key["api_key"])
    found = eventually(
        lambda: (said := stack.json("spool", "status"))["unshipped"] == 0 and said, "it is shipped"
    )
    assert (found["in_use"], found["pairing"], found["records"]) == (True, "paired", 6)
    assert (found["ledger_before"], found["next_record"], found["first_record"]) == (6, 6, 0)
    assert found["bytes"] == sum(
        each.stat().st_size for each in (stack.data_dir / "spool").glob("*.seg")
    )
    assert found["max_bytes"] == 8 * 1024**3
    assert found["oldest_age_seconds"] is None
    own = stack.environment.pop("PDP_DATA_DIR")
    lines = stack.run("spool", "status", "--data-dir", own).stdout.splitlines()
    stack.environment["PDP_DATA_DIR"] = own
    assert lines[1].endswith(f" {found['bytes'] / 1000:.1f} kB of 8.6 GB")
    assert "in use by a data plane" in lines[0]
    assert lines[-1] == "waiting     nothing: the ledger has it all"
    stack.stop()

    copy = stack.folder / "copy"
    shutil.copytree(stack.data_dir / "spool", copy)
    stack.environment["PDP_DATABASE_URL"] = "postgresql://nobody:secret@127.0.0.1:1/none"
    found = stack.json("spool", "status")
    assert (found["in_use"], found["checkpoint_before"]) == (False, 6)
    assert (found["pairing"], found["ledger_before"]) == ("unknown", None)
    assert found["ledger_problem"]
    assert "secret" not in stack.run("spool", "status").stdout
    assert found["oldest_age_seconds"] >= 0
    del stack.environment["PDP_DATABASE_URL"]

    stack.start()
    await work(stack, key["api_key"])
    eventually(lambda: stack.json("spool", "status")["ledger_before"] == 12, "it is shipped")
    stack.stop()
    shutil.rmtree(stack.data_dir / "spool")
    shutil.copytree(copy, stack.data_dir / "spool")
    done = stack.run("spool", "status")
    assert done.returncode == 1
    assert "the spool is an old copy" in done.stdout
