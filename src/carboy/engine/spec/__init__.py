"""From a container's documents to its OCI runtime configuration: pure, except where /dev and CDI are read.

    conflicts.py  what a request says against itself      check.py   what `create` refuses or warns about
    mounts.py     -v, --tmpfs, VOLUME -> planned mounts   mountrequests.py   --mount
    process.py    entrypoint, command, environment        security.py   capabilities, masked paths
    limits.py     memory, CPU, pids, I/O                  devices.py, cdi.py   device filter, nodes, names
    ports.py      published ports                         document.py   everything joined

Start reading at `document.build`.
"""
