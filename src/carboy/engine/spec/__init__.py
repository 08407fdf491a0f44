"""From a container's documents to its OCI runtime configuration: pure, except where /dev is listed.

    check.py      what `create` refuses or warns about
    mounts.py     -v, --mount, --tmpfs, VOLUME -> one list of planned mounts
    process.py    entrypoint, command, environment
    limits.py     memory, CPU, pids, I/O          devices.py   device filter and nodes
    security.py   capabilities, masked paths      document.py  everything joined

Start reading at `document.build`.
"""
