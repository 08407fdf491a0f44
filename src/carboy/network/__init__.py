"""Bridges, veth pairs, addresses and NAT over netlink: no `ip`, `iptables` or `nft` program.

May import: `formats`, `linux`.  Start reading at `bridge.py`.
"""
