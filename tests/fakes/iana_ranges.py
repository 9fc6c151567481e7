"""IANA's registries of special addresses, written down: what no webhook may reach, whatever Python's version.

As of 2025-10-09:

* https://www.iana.org/assignments/iana-ipv4-special-registry
* https://www.iana.org/assignments/iana-ipv6-special-registry
* https://www.iana.org/assignments/ipv4-address-space (multicast)
* https://www.iana.org/assignments/ipv6-address-space (multicast, site-local, and what is reserved)

Deprecated ranges, whose column "globally reachable" says N/A, count as not reachable.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network

#: The ranges that are not globally reachable, as registered.
_CLOSED = """
    0.0.0.0/8           "This network"
    0.0.0.0/32          "This host on this network"
    10.0.0.0/8          Private-Use
    100.64.0.0/10       Shared Address Space
    127.0.0.0/8         Loopback
    169.254.0.0/16      Link Local
    172.16.0.0/12       Private-Use
    192.0.0.0/24        IETF Protocol Assignments
    192.0.0.0/29        IPv4 Service Continuity Prefix
    192.0.0.8/32        IPv4 dummy address
    192.0.0.170/32      NAT64/DNS64 Discovery
    192.0.0.171/32      NAT64/DNS64 Discovery
    192.0.2.0/24        Documentation (TEST-NET-1)
    192.88.99.0/24      Deprecated (6to4 Relay Anycast)
    192.88.99.2/32      6a44-relay anycast address
    192.168.0.0/16      Private-Use
    198.18.0.0/15       Benchmarking
    198.51.100.0/24     Documentation (TEST-NET-2)
    203.0.113.0/24      Documentation (TEST-NET-3)
    224.0.0.0/4         Multicast
    240.0.0.0/4         Reserved
    255.255.255.255/32  Limited Broadcast
    ::/128              Unspecified Address
    ::1/128             Loopback Address
    ::/96               Deprecated (IPv4-Compatible)
    ::ffff:0:0/96       IPv4-mapped Address
    ::ffff:0:0:0/96     IPv4-translated
    ::/8                Reserved by IETF
    64:ff9b:1::/48      IPv4-IPv6 Translation, local use
    100::/8             Reserved by IETF
    100::/64            Discard-Only Address Block
    100:0:0:1::/64      Dummy IPv6 Prefix
    200::/7             Reserved by IETF
    400::/6             Reserved by IETF
    800::/5             Reserved by IETF
    1000::/4            Reserved by IETF
    2001::/23           IETF Protocol Assignments
    2001::/32           TEREDO
    2001:2::/48         Benchmarking
    2001:10::/28        Deprecated (ORCHID)
    2001:db8::/32       Documentation
    2002::/16           6to4
    3fff::/20           Documentation
    4000::/3            Reserved by IETF
    5f00::/16           Segment Routing (SRv6) SIDs
    6000::/3            Reserved by IETF
    8000::/3            Reserved by IETF
    a000::/3            Reserved by IETF
    c000::/3            Reserved by IETF
    e000::/4            Reserved by IETF
    f000::/5            Reserved by IETF
    f800::/6            Reserved by IETF
    fc00::/7            Unique-Local
    fe00::/9            Reserved by IETF
    fe80::/10           Link-Local Unicast
    fec0::/10           Deprecated (Site-Local)
    ff00::/8            Multicast
"""
#: The ranges that are special and globally reachable.
_OPEN = """
    192.0.0.9/32        Port Control Protocol Anycast
    192.0.0.10/32       Traversal Using Relays around NAT Anycast
    192.31.196.0/24     AS112-v4
    192.52.193.0/24     AMT
    192.175.48.0/24     Direct Delegation AS112 Service
    64:ff9b::/96        IPv4-IPv6 Translation
    2001:1::1/128       Port Control Protocol Anycast
    2001:1::2/128       Traversal Using Relays around NAT Anycast
    2001:1::3/128       DNS-SD Service Registration Protocol Anycast
    2001:3::/32         AMT
    2001:4:112::/48     AS112-v6
    2001:20::/28        ORCHIDv2
    2001:30::/28        Drone Remote ID Protocol Entity Tags
    2620:4f:8000::/48   Direct Delegation AS112 Service
"""


def _networks(lines: str) -> list[IPv4Network | IPv6Network]:
    return [ip_network(line.split()[0]) for line in lines.strip().splitlines()]


NOT_REACHABLE = _networks(_CLOSED)
GLOBALLY_REACHABLE = _networks(_OPEN)
