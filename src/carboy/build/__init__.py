"""The builder: a Dockerfile and its inputs become layers and an image.

    BuildRequest ─▶ frontend ─▶ Graph of Operations ─▶ solver ─▶ layers ─▶ exporters
                                                       │  ▲
                                        key(inputs) ───┘  └── cache, or run(inputs)

    request.py      what a build is asked for
    graph.py        the operations and their graph: plain values that can be printed; start here
    frontend/       a Dockerfile's plan and the configs of its bases to a graph, and to image configs
    operation.py    what the solver knows of an operation: its ingredients, and how to run it
    solver.py       runs what is not cached, several at once
    steps.py        from operations to what does them; session.py: what the steps of a build share
    operations/     one module for each operation
    sources/        what comes from outside: contexts, downloads, repositories, base images
    executor.py     what RUN needs of the engine (a Protocol)
    progress.py     what is told while a build runs
    crew.py         the threads of all builds
    cache.py        results by key;  pruning.py: how to have fewer
    explain.py      why a key differs from last time (history.py, differences.py)
    cachemounts.py  directories that stay between builds
    cacheexchange.py, cachelayout.py   the cache in images and directories
    records.py      what entered and left each build
    exporters/      image, local, tar, oci, docker
    residues.py     what --reproducible leaves behind

    COPY and ADD: trees.py, select.py, globs.py, places.py (what the sources mean) ─▶ scan.py, hashcache.py,
    treedigest.py (digests) ─▶ destination.py, archives.py, copyplan.py (what goes where) ─▶ layerwriter.py

May import: `formats`, `linux`, `archive`, `store`, `registry`.
"""
