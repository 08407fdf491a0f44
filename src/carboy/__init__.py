"""Carboy: a container platform for reproducible data science.

Start reading at docs/architecture.md; the folders and who may import whom are in
docs/house-style.md.  This module stays empty of imports: every process pays for it.
"""

__version__ = "0.1.0"
