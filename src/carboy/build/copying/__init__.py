"""COPY, ADD and WORKDIR: from words of a Dockerfile to the members of a layer.

    select.py, globs.py, places.py    what the sources mean
    scan.py, hashcache.py             what is there, with digests; those of unchanged files are remembered
    treedigest.py                     one digest for a tree
    destination.py                    what the base says of the destination
    archives.py                       tars that ADD unpacks
    plan.py                           what goes where
    layerwriter.py                    the layer

How and why: docs/design/0019-copy.md.
"""
