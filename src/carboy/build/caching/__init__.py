"""What builds remember: results, and enough of the past to explain a miss.

cache.py                       results by key
pruning.py                     how to have fewer
explain.py                     why a key differs from last time
history.py, differences.py     what steps depended on, and what of it changed
exchange.py, layout.py         the cache in images and directories
mounts.py                      directories that stay between builds (`RUN --mount=type=cache`)
"""
