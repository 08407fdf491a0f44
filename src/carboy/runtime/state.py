"""What carboy-runtime remembers of a container between two of its commands.

    <root>/<id>/state.json    written whole or not at all; 0600 below a directory of 0700
    <root>/<id>/start.sock    init listens here for `start`; gone once the program was executed

                        ┌──────── pause / resume ─────────┐
    creating ─▶ created ─▶ running ─▶ stopped         running ◀─▶ paused
                   └────── start ┘

The status is never stored: a process may end at any moment.  It is read from the kernel: a
process is known by pid, start time and boot id, so that a reused pid cannot be mistaken for it.
"""

from __future__ import annotations

import json
import os

from carboy.errors import Conflict, Corrupt, InvalidArgument, NotFound
from carboy.linux import process, tree
from carboy.runtime import cgroups, spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.runtime.cgroups import Cgroup

VERSION = "1.2.0"
"""The release of the OCI runtime specification that this runtime follows."""

LEGAL: dict[str, tuple[str, ...]] = {
    "start": ("created",),
    "kill": ("created", "running", "paused"),
    "exec": ("created", "running"),
    "pause": ("created", "running"),
    "resume": ("paused",),
    "update": ("created", "running", "paused"),
    "ps": ("created", "running", "paused"),
    "events": ("created", "running", "paused"),
    "delete": ("stopped", "created"),
}
"""In which states an operation may be asked for."""

ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def check_id(unsafe_id: str) -> str:
    """The id, which becomes a file name: raises InvalidArgument for anything that is not plainly one."""
    if not unsafe_id or len(unsafe_id) > 255 or unsafe_id[0] == "." or not set(unsafe_id) <= ID_CHARACTERS:
        raise InvalidArgument(
            f"container id {unsafe_id[:80]!r} is not valid: use letters, digits and _ + - . (not first)"
        )
    return unsafe_id


class Container:
    """One container's directory and what its state.json says."""

    def __init__(self, root: str, container_id: str, document: dict[str, Any]) -> None:
        self.root = root
        self.container_id = container_id
        self.directory = f"{root}/{container_id}"
        self.bundle = str(document.get("bundle", ""))
        self.pid = int(document.get("pid") or 0)
        self.started = int(document.get("started") or 0)
        self.boot = str(document.get("boot", ""))
        self.created = str(document.get("created", ""))
        self.owner = int(document.get("owner") or 0)
        self.cgroup_paths: dict[str, str] = document.get("cgroup") or {}
        self.config: dict[str, Any] = document.get("config") or {}

    @classmethod
    def make(
        cls,
        root: str,
        container_id: str,
        bundle: str,
        config: dict[str, Any],
        *,
        cgroup: dict[str, str] | None = None,
    ) -> Container:
        """Take the id: its directory; raises Conflict when somebody has it.

        cgroup: where its group will be, so that what a `create` leaves that is killed can be found.
        """
        os.makedirs(root, 0o711, exist_ok=True)
        try:
            os.mkdir(f"{root}/{check_id(container_id)}", 0o700)
        except FileExistsError as error:
            raise Conflict(f"container with given ID already exists: {container_id}") from error
        document = {
            "bundle": bundle,
            "config": config,
            "owner": os.geteuid(),
            "created": now(),
            "cgroup": cgroup,
        }
        made = cls(root, container_id, document)
        made.save()
        return made

    @classmethod
    def load(cls, root: str, container_id: str) -> Container:
        """The container of that id; raises NotFound."""
        try:
            with open(f"{root}/{check_id(container_id)}/state.json", "rb") as file:
                document = json.loads(file.read())
        except FileNotFoundError as error:
            raise NotFound(f"container does not exist: {container_id} (in {root})") from error
        except ValueError as error:
            raise Corrupt(f"the state of container {container_id} is not JSON: {error}") from error
        return cls(root, container_id, document)

    def save(self) -> None:
        """Write state.json, whole or not at all."""
        document = {
            "bundle": self.bundle,
            "pid": self.pid,
            "started": self.started,
            "boot": self.boot,
            "created": self.created,
            "owner": self.owner,
            "cgroup": self.cgroup_paths,
            "config": self.config,
        }
        temporary = f"{self.directory}/.state.json"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600), "w") as file:
            json.dump(document, file)
        os.rename(temporary, f"{self.directory}/state.json")

    def set_process(self, pid: int) -> None:
        """Remember init so that it cannot be mistaken."""
        self.pid, self.started, self.boot = pid, process.start_time(pid), process.boot_id()

    def alive(self) -> bool:
        """Whether init runs (a zombie does not)."""
        if not self.pid or self.boot != process.boot_id():
            return False
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return fields[0] not in (b"Z", b"X") and int(fields[19]) == self.started

    def pidfd(self) -> int:
        """A descriptor of init; raises NotFound when it has ended."""
        try:
            fd = process.pidfd_open(self.pid)
        except ProcessLookupError as error:
            raise NotFound(f"container {self.container_id} is not running") from error
        if self.alive():  # still the same after it was opened
            return fd
        os.close(fd)
        raise NotFound(f"container {self.container_id} is not running")

    def status(self) -> str:
        """The state as the specification names it."""
        if not self.pid:
            return "creating"
        if not self.alive():
            return "stopped"
        group = self.group()
        if group is not None and group.frozen():
            return "paused"
        return "created" if os.path.exists(f"{self.directory}/start.sock") else "running"

    def require(self, operation: str) -> str:
        """The status, which must allow the operation; raises Conflict."""
        status = self.status()
        if status not in LEGAL[operation]:
            if operation == "delete":
                text = f"cannot delete container {self.container_id} that is not stopped: {status}"
            elif status == "stopped":
                text = f"cannot {operation} container {self.container_id}: container not running"
            else:
                text = f"cannot {operation} a container in the {status} state: {self.container_id}"
            raise Conflict(text)
        return status

    def group(self) -> Cgroup | None:
        """Its control group, None when it has none (any more)."""
        if not self.cgroup_paths:
            return None
        try:
            return cgroups.attach(self.cgroup_paths)
        except NotFound:
            return None

    def spec(self) -> spec.Spec:
        """The configuration that it was created with."""
        return spec.parse(self.config)

    def document(self) -> dict[str, Any]:
        """The answer of `state` (runtime.md, "State"), with what runc adds."""
        status = self.status()
        root = str((self.config.get("root") or {}).get("path") or "")
        return {
            "ociVersion": VERSION,
            "id": self.container_id,
            "status": status,
            "pid": self.pid if status not in ("creating", "stopped") else 0,
            "bundle": self.bundle,
            "rootfs": os.path.join(self.bundle, root),
            "created": self.created,
            "annotations": self.config.get("annotations") or {},
            "owner": owner_name(self.owner),
        }

    def remove(self) -> None:
        """Give the id back."""
        tree.remove_in(self.root, self.container_id)


def containers(root: str) -> list[Container]:
    """All of them, by id; one that goes away meanwhile is left out."""
    found = []
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    for name in names:
        if name.startswith("."):
            continue
        try:
            found.append(Container.load(root, name))
        except NotFound:
            continue
    return found


def owner_name(uid: int) -> str:
    """The user's name, or the number of one that has none."""
    import pwd  # only `state` and `list` need it

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def now() -> str:
    """The time in RFC 3339."""
    import time  # a C module

    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09d}Z"
