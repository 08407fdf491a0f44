"""Builds as the engine does them: contexts in, images and archives out.

    service.py    Builder: the face that the API uses; start here
    joining.py    all parts, made when the first build comes (tools.py makes them)
    bench.py      builds that were announced, run, or wait to be fetched
    requests.py   what a client asked for, as a BuildRequest
    work.py       one build from its contexts to its outputs
    results.py    images into the store; outputs that the client will fetch
    caches.py     how much cache there is, and less of it;  cachelocations.py: caches from elsewhere
    messages.py, traces.py, failures.py   what a client is told: Docker's messages, or all of it

    executor.py   RUN in a container of its own, and around it:
    mounts.py     its `--mount`s (agents.py: ssh; masking.py: .dockerignore)
    scaffolding.py   its mount points;  bundles.py: its config.json;  trust.py: --host-ca
    running.py    its life with its monitor;  output.py: what it prints

May import: everything below, as the rest of `engine`.
"""
