"""The Docker Engine HTTP API: route table, handlers, error to status.

May import: `formats`; the engine arrives through the Protocols of `backend.py`.
Start reading at `routes.py`.
"""
