"""The addresses that `PDP_REDIS_URL` takes."""

import re

import pytest

from pdp.counters.redis.address import parse_address


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "rest"),
    [
        ("redis://localhost", "single", [("localhost", 6379)], {}),
        ("rediss://h:7000/3", "single", [("h", 7000)], {"is_tls": True, "database": 3}),
        ("redis://[::1]:7000", "single", [("::1", 7000)], {}),
        ("unix:///run/redis.sock?db=2", "single", [], {"database": 2}),
        (
            "redis+sentinel://pdp:p%40ss@a,b:1/main/2?sentinel_password=x",
            "sentinel",
            [("a", 26379), ("b", 1)],
            {"username": "pdp", "password": "p@ss", "master": "main", "database": 2},
        ),
        (
            "rediss+cluster://:secret@a:1,b:2",
            "cluster",
            [("a", 1), ("b", 2)],
            {"username": None, "password": "secret", "is_tls": True},
        ),
    ],
)
def test_what_an_address_says(
    url: str, kind: str, hosts: list[tuple[str, int]], rest: dict[str, object]
) -> None:
    address = parse_address(url)
    assert (address.kind, list(address.hosts)) == (kind, hosts)
    assert {name: getattr(address, name) for name in rest} == rest
    assert "secret" not in address.shown + repr(address)
    assert "p%40ss" not in address.shown + repr(address)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("localhost:6379", "redis://"),
        ("http://localhost", "redis+cluster://"),
        ("redis://host:port", "host:port"),
        ("redis://", "host:port"),
        ("redis://host:70000", "host:port"),
        ("redis://host/x", "database"),
        ("redis+sentinel://host", "mymaster"),
        ("redis://host?db=x", "database"),
        ("redis+sentinel://host/main/1/2", "database"),
        ("redis+cluster://host/1", "database"),
        ("redis+cluster://host?db=1", "database"),
        ("redis://host?db=1&db=2", "once"),
        ("redis+sentinel://host/main?ssl_ca_certs=a&x=1&ssl_ca_certs=b", "once"),
    ],
)
def test_what_is_no_address_says_what_is(url: str, word: str) -> None:
    with pytest.raises(ValueError, match=re.escape(word)):
        parse_address(url)


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("redis://redis.example", "redis://user:secret@REDIS.example:6379/0?socket_timeout=1"),
        ("redis://localhost:6379", "redis://127.0.0.1"),
        ("redis://a/2", "redis://a/1?db=2"),
        ("redis+sentinel://a/main/2", "redis+sentinel://a/main?db=2"),
        ("redis+sentinel://a,b:26379/main", "redis+sentinel://b,a/main/0"),
        ("redis+cluster://a:6379,b", "rediss+cluster://:secret@b,a"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?client_name=pdp"),
    ],
)
def test_one_place_has_one_name_without_credentials(one: str, same: str) -> None:
    assert parse_address(one).place == parse_address(same).place
    assert "secret" not in parse_address(same).place


def test_places_that_count_apart_have_different_names() -> None:
    urls = (
        *("redis://a", "redis://b", "redis://a:6380", "redis://a/1", "redis+cluster://a"),
        *("redis+sentinel://a/one", "redis+sentinel://a/another", "redis+sentinel://a/one/1"),
        *("unix:///run/a.sock", "unix:///run/b.sock", "unix:///run/a.sock?db=1"),
        *("redis://a?db=2", "redis+sentinel://a/one?db=2"),
    )
    assert len({parse_address(url).place for url in urls}) == len(urls)
