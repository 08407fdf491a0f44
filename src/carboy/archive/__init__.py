"""Trees of files as tar streams and back, on descriptors only: what `cp` and `export` are made of.

May import: errors, formats.  No ctypes here: the command line uses this too.
Start reading at `walking.py` (a tree as entries), then `unpacking.py` (entries as a tree).
"""
