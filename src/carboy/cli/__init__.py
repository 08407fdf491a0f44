"""The command line: one module per command, speaking the Docker Engine API only.

May import: `formats`, `client`.  Its imports are part of every command's latency: a test
holds the budget (docs/design/0005-command-line.md).  Start reading at `main.py`.
"""
