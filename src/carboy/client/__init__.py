"""A client of the Docker Engine API over unix and tcp sockets, synchronous and small.

May import: `formats`.  Start reading at `transport.py`.
"""
