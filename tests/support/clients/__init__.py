"""Real clients of Docker, each behind the same few words, so that all do the same work.

Start at `work.py`; one module per client.
"""
