"""`pdp organization`: get and update."""

import pytest

from tests.unit.cli.conftest import Pdp

pytestmark = pytest.mark.usefixtures("root")


def test_the_settings_are_shown_and_changed(pdp: Pdp) -> None:
    before = pdp("organization", "get", "--json").json()
    assert before["timezone"] == "UTC"
    options = ("--name", "Acme", "--timezone", "Europe/Berlin")
    changed = pdp("organization", "update", *options, "--json").json()
    assert changed == {**before, "name": "Acme", "timezone": "Europe/Berlin"}
    assert "Europe/Berlin" in pdp("organization", "get").out
    assert pdp("organization", "update", "--name", "Two").status == 0
    after = pdp("organization", "get", "--json").json()
    assert (after["name"], after["timezone"]) == ("Two", "Europe/Berlin")


def test_it_says_what_is_wrong(pdp: Pdp) -> None:
    refused = pdp("organization", "update", "--timezone", "Mars/Base").refusal()
    assert "timezone: `Mars/Base` is not an IANA timezone" in refused
    assert (
        "there is no organization `org_x`"
        in pdp("organization", "get", "--organization-id", "org_x").refusal()
    )
    nothing = pdp("organization", "update")
    assert nothing.status == 2
    assert "give --name or --timezone" in nothing.err
