"""Sans-IO codecs: bytes or text in; values, events or "need more" out.

No `os`, `socket`, `open`, clock or environment here; those arrive as arguments.
May import: `carboy.errors`, `carboy.digest`.  Start reading at `spawner.py` (what the
daemon, the spawner and the monitors say to each other) and `tar/` (layers).
The modules that the runtime imports (`spawner`, `stdcopy`, `jsonlog`) are standard library only.
"""
