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
    caching/        results by key, why a key differs, cache mounts, the cache for others
    copying/        COPY, ADD, WORKDIR: from sources to the members of a layer
    trees.py        files of contexts and images, as values
    records.py      what entered and left each build
    exporters/      image, local, tar, oci, docker
    residues.py     what --reproducible leaves behind

May import: `formats`, `linux`, `archive`, `store`, `registry`.
"""
