from __future__ import annotations

import pytest

from runner.inputs import address_policy


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "fe80::1%eth0",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "4000::1",
        "no address",
    ],
)
def test_what_only_this_host_may_reach_is_refused(address: str) -> None:
    assert address_policy.explain_refusal(address)


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34",
        "10.0.0.5",
        "172.17.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "fd12:3456::1",
        "2606:2800:220:1::1",
        "::ffff:10.0.0.5",
        "64:ff9b::5db8:d822",
    ],
)
def test_public_and_private_networks_are_open(address: str) -> None:
    assert address_policy.explain_refusal(address) is None


def test_a_host_or_an_address_can_be_allowed_by_name() -> None:
    allowed = ("Data.Example.org", "127.0.0.2", "[::1]")
    assert address_policy.is_allowed("data.example.org.", "127.0.0.1", allowed)
    assert address_policy.is_allowed("anything", "127.0.0.2", allowed)
    assert address_policy.is_allowed("::1", "0:0:0:0:0:0:0:1", allowed)
    assert not address_policy.is_allowed("evil.example.org", "127.0.0.1", allowed)
    assert not address_policy.is_allowed("example.org", "127.0.0.1", allowed)
