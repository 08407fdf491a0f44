"""One thin function per syscall or kernel file: same name, no policy, no logging.

The only home of `ctypes`.  May import: `carboy.errors`.  Failures are `OSError` with the
call's name; the layer above gives them a category.  Start reading at `libc.py` and `mount.py`.
"""
