"""Container networks over netlink: bridges, veth pairs, addresses, the firewall, /etc files.

May import: `carboy.errors`, `carboy.formats`, `carboy.linux`.  Synchronous and thread-safe.
Start reading at `bridge.py` (the face that the engine uses), then `sockets.py` (how messages
reach the kernel) and `firewall.py` (our table, and other owners' hooks).  Decisions and refused
alternatives: docs/design/0004-network.md.
"""
