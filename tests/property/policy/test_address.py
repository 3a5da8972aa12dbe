"""Sets of networks against `ipaddress`, asked one by one."""

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from pdp.policy.address import AddressSet, parse_address, parse_network
from tests.property.policy.reference import in_networks

V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6).map(str)
MAPPED = V4.map(lambda text: f"::ffff:{text}")
ADDRESS = V4 | V6 | MAPPED


@st.composite
def networks(draw: st.DrawFn) -> str:
    address = draw(ADDRESS)
    return f"{address}/{draw(st.integers(0, 128 if ':' in address else 32))}"


@given(st.lists(networks(), min_size=1, max_size=6), ADDRESS, st.data())
def test_a_set_holds_what_one_of_its_networks_holds(
    cidrs: list[str], address: str, data: st.DataObject
) -> None:
    near = st.sampled_from(cidrs).map(lambda cidr: str(ip_network(cidr, strict=False)[-1]))
    asked = data.draw(st.just(address) | near)
    parsed = [network for cidr in cidrs if (network := parse_network(cidr)) is not None]
    number = parse_address(asked)
    assert number is not None
    assert len(parsed) == len(cidrs)
    assert AddressSet(parsed).holds(number) is in_networks(cidrs, asked)


@given(st.text(max_size=20))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = parse_address(text)
    assert address is None or address[1] < 1 << address[0]
    network = parse_network(text)
    assert network is None or network[2] < 1 << (network[0] - network[1])
