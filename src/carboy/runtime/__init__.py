"""The OCI runtime, the spawner and the monitors: a specification in, a process out.

Runs in processes of its own.  May import: the standard-library-only modules of `formats`,
and `linux`; every container pays for what is imported here.  Start reading at `sync.py`
(the conversation between parent and init) and `launch.py`.
"""
