"""The tables of db.sqlite, as the migrations that make them.

Entry N of MIGRATIONS brings a database from `user_version` N to N + 1.  Entries are never
edited after a release, only appended.  `document` columns hold the JSON of a struct of the
module that owns the table (see docs/design/0003-engine-and-api.md), with a version in it.
"""

from __future__ import annotations

from typing import Final

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE containers (
            id TEXT PRIMARY KEY,
            name TEXT UNIQUE,
            created_at REAL NOT NULL,
            document BLOB NOT NULL
        ) WITHOUT ROWID""",
        # The id is the digest of the image's config, "sha256:<hex>".
        """CREATE TABLE images (
            id TEXT PRIMARY KEY,
            created_at REAL NOT NULL,
            size INTEGER NOT NULL,
            document BLOB NOT NULL
        ) WITHOUT ROWID""",
        # Canonical references: docker.io/library/busybox:latest.
        """CREATE TABLE tags (
            reference TEXT PRIMARY KEY,
            image_id TEXT NOT NULL REFERENCES images(id),
            updated_at REAL NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX tags_by_image ON tags(image_id)",
        """CREATE TABLE manifests (
            image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
            digest TEXT NOT NULL,
            repository TEXT NOT NULL,
            PRIMARY KEY (image_id, digest, repository)
        ) WITHOUT ROWID""",
        """CREATE TABLE volumes (
            name TEXT PRIMARY KEY,
            created_at REAL NOT NULL,
            document BLOB NOT NULL
        ) WITHOUT ROWID""",
        # No foreign key: an address is reserved before its container is stored.
        """CREATE TABLE endpoints (
            network TEXT NOT NULL,
            container_id TEXT NOT NULL,
            address TEXT NOT NULL,
            PRIMARY KEY (network, container_id)
        ) WITHOUT ROWID""",
        "CREATE UNIQUE INDEX endpoints_by_address ON endpoints(network, address)",
        """CREATE TABLE settings (
            key TEXT PRIMARY KEY,
            value TEXT NOT NULL
        ) WITHOUT ROWID""",
        # expires_at NULL: the lease ends with the daemon that took it.
        """CREATE TABLE leases (
            id TEXT PRIMARY KEY,
            created_at REAL NOT NULL,
            expires_at REAL
        ) WITHOUT ROWID""",
        """CREATE TABLE lease_items (
            lease_id TEXT NOT NULL REFERENCES leases(id) ON DELETE CASCADE,
            kind TEXT NOT NULL,
            key TEXT NOT NULL,
            PRIMARY KEY (lease_id, kind, key)
        ) WITHOUT ROWID""",
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY,
            at REAL NOT NULL,
            document BLOB NOT NULL
        )""",
    ),
    (
        # What steps of builds gave: `layers` are DiffIDs with spaces between, on top of the first input's
        # when `above`, else all there is.  A row without its layers is a miss.  `origin`: the digest of the
        # imported cache that it came with, and that only those who name it believe; empty: made here.
        """CREATE TABLE build_cache (
            key TEXT PRIMARY KEY,
            layers TEXT NOT NULL,
            above INTEGER NOT NULL,
            origin TEXT NOT NULL,
            operation TEXT NOT NULL,
            description TEXT NOT NULL,
            parents TEXT NOT NULL,
            size INTEGER NOT NULL,
            created_at REAL NOT NULL,
            last_used REAL NOT NULL,
            uses INTEGER NOT NULL,
            record BLOB NOT NULL
        ) WITHOUT ROWID""",
        # Compressed JSON by key: what a step depended on.  Kept as long as one of the others names the key.
        "CREATE TABLE build_ingredients (key TEXT PRIMARY KEY, document BLOB NOT NULL)",
        # The key that stood at a place of a Dockerfile last time.
        """CREATE TABLE build_history (
            place TEXT PRIMARY KEY,
            key TEXT NOT NULL,
            instruction TEXT NOT NULL,
            built_at REAL NOT NULL
        ) WITHOUT ROWID""",
        "CREATE TABLE build_pruned (key TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",
        """CREATE TABLE build_records (
            id TEXT PRIMARY KEY,
            started_at REAL NOT NULL,
            document BLOB NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE build_record_keys (
            id TEXT NOT NULL REFERENCES build_records(id) ON DELETE CASCADE,
            key TEXT NOT NULL,
            PRIMARY KEY (id, key)
        ) WITHOUT ROWID""",
        "CREATE INDEX build_record_keys_by_key ON build_record_keys(key)",
        # `name` is a directory's below cache/mounts; `id` is a stranger's word, and never a path.
        """CREATE TABLE cache_mounts (
            name TEXT PRIMARY KEY,
            id TEXT NOT NULL,
            created_at REAL NOT NULL,
            last_used REAL NOT NULL,
            uses INTEGER NOT NULL,
            filled INTEGER NOT NULL
        ) WITHOUT ROWID""",
    ),
    (
        # What a server said of a file that it was asked for, so that it can say "not modified" next time.
        # `id` is the digest of the whole address: one with credentials is never kept.
        """CREATE TABLE build_downloads (
            id TEXT PRIMARY KEY,
            etag TEXT NOT NULL,
            modified TEXT NOT NULL,
            digest TEXT NOT NULL,
            size INTEGER NOT NULL,
            used_at REAL NOT NULL
        ) WITHOUT ROWID""",
    ),
    (
        # Work trees whose files were compared with git's by content, and what those looked like then.
        """CREATE TABLE build_worktrees (
            id TEXT PRIMARY KEY,
            stamp TEXT NOT NULL,
            used_at REAL NOT NULL
        ) WITHOUT ROWID""",
    ),
)
