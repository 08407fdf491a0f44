"""What is kept on disk: content, layers, snapshots, metadata, leases, garbage collection.

Nothing is visible before it is whole, verified and fsynced.  May import: `formats`, `linux`.
Start reading at `paths.py` (every path) and `layers.py` (a layer is one file).
"""
