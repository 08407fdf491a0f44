"""Containers: records, states, life and the face that the API uses.

service.py (the API's face) ─▶ drafts.py (create) and removal.py
       ├─▶ lifecycle.py (start, exit, recovery) ─▶ launching.py ─▶ monitors, store, network
       ├─▶ requests.py (what is asked of a running one's monitor)
       └─▶ views.py (list, inspect)      index.py, document.py (records)      states.py
"""
