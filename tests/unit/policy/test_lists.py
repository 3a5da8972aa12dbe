"""Permissions and IP allowlists: what the parsers take and refuse."""

import pytest

from pdp.errors import InvalidDocument
from pdp.policy.allowlist import parse_ip_allowlist
from pdp.policy.permissions import Permissions, parse_permissions
from pdp.problems import Problems


def faults_of(problems: Problems) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        problems.raise_if_any()
    return [str(problem) for problem in caught.value.problems]


def test_permissions_with_everything_in_them() -> None:
    problems = Problems()
    document = {
        "models": ["gpt-4o"],
        "providers": [],
        "actions": None,
        "manage_keys": True,
        "view_all_usage": False,
        "daily_budget": 50.0,
        "monthly_budget": 5000.0,
        "rate_limit_per_minute": 20,
        "max_requests": 100,
    }
    assert parse_permissions(document, "permissions", problems) == Permissions(
        models=("gpt-4o",), providers=(), manage_keys=True
    )
    assert not len(problems)


def test_permissions_with_faults() -> None:
    problems = Problems()
    document = {"models": "gpt-4o", "providers": [1], "manage_keys": "yes", "modles": []}
    assert parse_permissions(document, "permissions", problems) is None
    unknown, *others = faults_of(problems)
    assert unknown.startswith("permissions.modles: unknown field: use one of `models`, ")
    assert others == [
        "permissions.models: must be a list, not a string",
        "permissions.providers[0]: must be a string, not a number",
        "permissions.manage_keys: must be a boolean, not a string",
    ]


def test_permissions_are_an_object() -> None:
    problems = Problems()
    assert parse_permissions([], "permissions", problems) is None
    assert faults_of(problems) == ["permissions: must be an object, not a list"]


@pytest.mark.parametrize(
    ("document", "client_ip", "admitted"),
    [
        ({"enabled": False}, "", True),
        ({"enabled": False, "addresses": ["10.0.0.1"]}, "10.0.0.2", True),
        ({"enabled": True}, "10.0.0.1", False),
        ({"enabled": True, "addresses": ["10.0.0.77/24"]}, "10.0.0.1", True),
        ({"enabled": True, "addresses": ["::ffff:10.0.0.1"]}, "10.0.0.1", True),
        ({"enabled": True, "addresses": ["10.0.0.1"]}, "::FFFF:10.0.0.1", True),
        ({"enabled": True, "addresses": ["::ffff:0:0/96"]}, "10.0.0.1", True),
        ({"enabled": True, "addresses": ["::ffff:0:0/95"]}, "10.0.0.1", False),
        ({"enabled": True, "addresses": ["::/0"]}, "10.0.0.1", False),
        ({"enabled": True, "addresses": ["0.0.0.0/0"]}, "::1", False),
        ({"enabled": True, "addresses": ["fe80::/10"]}, "fe80::1%eth0", False),
        ({"enabled": True, "addresses": ["0.0.0.0/0"]}, "010.0.0.1", False),
        ({"enabled": True, "addresses": ["0.0.0.0/0", "::/0"]}, "", False),
    ],
)
def test_who_an_allowlist_admits(
    document: dict[str, object], client_ip: str, admitted: bool
) -> None:
    allowlist = parse_ip_allowlist(document, "ip_allowlist", Problems())
    assert allowlist is not None
    assert allowlist.admits(client_ip) is admitted


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        ([], ["ip_allowlist: must be an object, not a list"]),
        ({}, ["ip_allowlist.enabled: is required"]),
        (
            {"enabled": 1, "addresses": ["10.0.0.0/8", "home"]},
            [
                "ip_allowlist.enabled: must be a boolean, not a number",
                "ip_allowlist.addresses[1]: `home` is no IP address or CIDR: "
                "write it like `203.0.113.0/24`",
            ],
        ),
        (
            {"enabled": True, "addresses": "10.0.0.1"},
            ["ip_allowlist.addresses: must be a list, not a string"],
        ),
        (
            {"enabled": True, "ips": []},
            ["ip_allowlist.ips: unknown field: use one of `enabled`, `addresses`"],
        ),
    ],
)
def test_an_allowlist_with_faults(document: object, faults: list[str]) -> None:
    problems = Problems()
    assert parse_ip_allowlist(document, "ip_allowlist", problems) is None
    assert faults_of(problems) == faults
