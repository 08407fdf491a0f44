"""The daemon's settings: one table, read from flags and from a file.

`table` says what there is, `reading` makes `Settings` of flags and the file's bytes, `page` writes
docs/settings.md.  May import: errors, and nothing else of ours.  Start reading in `table`.
"""
