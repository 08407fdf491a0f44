"""The use cases: containers, exec, images, volumes, events, logs.

May import: `formats`, `linux`, `store`, `network`, `registry`, `build`; of `runtime` only
another process, through `monitors/`.  Start reading at `containers/`.
"""
