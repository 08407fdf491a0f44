"""The handlers of the routes, one module per kind of object.

May import: what `api` may.  A handler reads its `Call`, asks the engine on a thread, and
gives an `Answer`; errors are raised and become statuses in `api/failure.py`.
"""
