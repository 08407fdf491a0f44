"""Exec: further programs in a running container."""

from msgspec import UNSET, UnsetType, field

from carboy.formats.dockerapi.wire import Document


class ExecConfig(Document, kw_only=True):
    """What to run; the body of `POST /containers/{id}/exec`."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: list[int] | None = None
    attach_stdin: bool = False
    attach_stderr: bool = False
    attach_stdout: bool = False
    detach: bool = False
    detach_keys: str = ""
    env: list[str] = field(default_factory=list)
    working_dir: str = ""
    cmd: list[str] = field(default_factory=list)


class ExecStart(Document, kw_only=True):
    """How to start it; the body of `POST /exec/{id}/start`."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] | None = None


class ExecProcess(Document, kw_only=True, rename=None):
    """The program of an exec, as inspect shows it."""

    entrypoint: str
    arguments: list[str] = field(default_factory=list)
    tty: bool = False
    privileged: bool = False
    user: str | UnsetType = UNSET


class ExecInspect(Document, kw_only=True):
    """The state of one exec; `exit_code` is None until it has ended."""

    id: str = field(name="ID")
    running: bool
    exit_code: int | None = None
    process_config: ExecProcess
    open_stdin: bool = False
    open_stderr: bool = False
    open_stdout: bool = False
    can_remove: bool = False
    container_id: str = field(name="ContainerID")
    detach_keys: str = ""
    pid: int = 0
