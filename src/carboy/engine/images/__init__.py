"""Images: records, tags, and every way in and out (import, load, commit, save, removal).

May import: `formats`, `store`.  Start reading at `service.py`, the face that the API and the
containers use; `records.py` says what is stored.

    import, load, commit ──▶ LayerStore + ContentStore ──(one transaction)──▶ ImageRecords
                              under a lease                                    images, tags

Whatever fails before the transaction is collected as garbage when its lease ends.
"""
