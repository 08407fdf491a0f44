"""The monitor: one small process per container, its parent and its memory.

May import: what `runtime` may; nothing after its fork.  Start reading at `supervisor.py`
(requests, the life of the container), then `session.py` (streams), `log.py`, `connection.py`.
"""
