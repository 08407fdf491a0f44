"""The daemon as a service of its machine: options and file, log, notices to systemd, metrics of itself.

May import: errors, formats, linux, client.address.  Start reading in `options`; `daemon.py` joins it all.
"""
