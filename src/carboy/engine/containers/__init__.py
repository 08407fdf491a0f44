"""Containers: records, states, life and the face that the API uses.

service.py (the API's face) ─▶ lifecycle.py (start, exit, recovery) ─▶ monitors, store, network
       └─▶ views.py (list, inspect)      index.py, document.py (records)      states.py
"""
