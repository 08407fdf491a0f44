"""The process that holds the published ports of one daemon's containers, and forwards what comes to them.

Start reading at `service.py`.  May import: what `runtime` may.
"""
