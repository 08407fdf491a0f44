"""All containers by id, prefix and name: in memory, written through to the database."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec

from carboy.engine.containers.document import VERSION, Container, ContainerDocument
from carboy.errors import Conflict, Corrupt, InvalidArgument, NotFound
from carboy.store.metadata import Database

_decoder = msgspec.json.Decoder(ContainerDocument)
_encoder = msgspec.json.Encoder()


class Index:
    """The containers that exist; names are reserved before anything else is made."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._by_id: dict[str, Container] = {}
        self._ids_by_name: dict[str, str] = {}

    def load(self) -> None:
        """Read all from the database."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT id, document FROM containers ORDER BY created_at").fetchall()
        for container_id, text in rows:
            try:
                document = _decoder.decode(text)
            except msgspec.DecodeError as error:
                raise Corrupt(f"the record of container {container_id} cannot be read: {error}") from error
            if document.version > VERSION:
                raise Corrupt(f"the record of container {container_id} was made by a newer Carboy")
            self._by_id[container_id] = Container(document)
            self._ids_by_name[document.name] = container_id

    def all(self) -> list[Container]:
        """Every container, oldest first."""
        with self._lock:
            return list(self._by_id.values())

    def __iter__(self) -> Iterator[Container]:
        return iter(self.all())

    def is_taken(self, name: str) -> bool:
        """Whether a container has this name."""
        return name in self._ids_by_name

    def reserve(self, name: str, container_id: str) -> None:
        """Claim a name; raises Conflict with Docker's words."""
        with self._lock:
            owner = self._ids_by_name.get(name)
            if owner is not None:
                raise Conflict(
                    f'Conflict. The container name "/{name}" is already in use by container "{owner}".'
                    " You have to remove (or rename) that container to be able to reuse that name."
                )
            self._ids_by_name[name] = container_id

    def release(self, name: str, container_id: str) -> None:
        """Give a name back."""
        with self._lock:
            if self._ids_by_name.get(name) == container_id:
                del self._ids_by_name[name]

    def add(self, container: Container) -> None:
        """Make a container visible."""
        document = container.document
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO containers(id, name, created_at, document) VALUES (?, ?, ?, ?)",
                (document.id, document.name, document.created_at / 1e9, _encoder.encode(document)),
            )
        with self._lock:
            self._by_id[container.id] = container

    def save(self, container: Container, *, durable: bool = True) -> None:
        """Write the document of a container that was added, and not removed meanwhile.

        durable: a power cut must not take it back either.
        """
        document = container.document
        with self._database.write(durable=durable) as connection:
            # Encoded when it is our turn to write: what is written last is the newest.
            with container.mutex:
                text = _encoder.encode(document)
            connection.execute(
                "UPDATE containers SET name = ?, document = ? WHERE id = ?",
                (document.name, text, document.id),
            )

    def remove(self, container: Container) -> None:
        """Forget a container and its name."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM containers WHERE id = ?", (container.id,))
        with self._lock:
            self._by_id.pop(container.id, None)
            self._ids_by_name.pop(container.name, None)

    def find(self, unsafe_ref: str) -> Container:
        """By id, by name, by prefix of an id, in this order; raises NotFound."""
        name = unsafe_ref.removeprefix("/")
        if not name:
            raise InvalidArgument("no container was named")
        with self._lock:
            found = self._by_id.get(unsafe_ref) or self._by_id.get(self._ids_by_name.get(name, ""))
            if found is not None:
                return found
            matches = [key for key in self._by_id if key.startswith(unsafe_ref)]
            if len(matches) == 1:
                return self._by_id[matches[0]]
        if matches:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {unsafe_ref[:80]}")
        raise NotFound(f"No such container: {unsafe_ref[:200]}")
