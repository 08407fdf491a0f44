"""The wire types of the Docker Engine API (1.24 to 1.51): documents in, documents out.

May import: `carboy.errors`.  Start reading at `wire.py` (how documents are read and
written), then `containers.py`.
"""
