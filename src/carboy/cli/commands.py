"""The one table of commands: for dispatch, help and completion.

A row: `name: (module, group, summary)`.  Docker's grouped forms map onto the same modules;
modules are imported when their command runs, never before.
"""

from __future__ import annotations

GROUPS = ("Containers", "Images", "System", "Volumes and networks")

COMMANDS: dict[str, tuple[str, str, str]] = {
    "run": ("run", "Containers", "Create and run a new container from an image"),
    "create": ("create", "Containers", "Create a new container"),
    "start": ("start", "Containers", "Start stopped containers"),
    "stop": ("stop", "Containers", "Stop running containers"),
    "restart": ("restart", "Containers", "Restart containers"),
    "kill": ("kill", "Containers", "Send a signal to running containers"),
    "wait": ("wait", "Containers", "Wait until containers stop, then print their exit codes"),
    "rm": ("rm", "Containers", "Remove containers"),
    "ps": ("ps", "Containers", "List containers"),
    "logs": ("logs", "Containers", "Show what a container printed"),
    "exec": ("exec", "Containers", "Run a command in a running container"),
    "attach": ("attach", "Containers", "Attach the terminal to a running container"),
    "pause": ("pause", "Containers", "Pause all processes of containers"),
    "unpause": ("unpause", "Containers", "Let paused containers go on"),
    "rename": ("rename", "Containers", "Give a container another name"),
    "commit": ("commit", "Images", "Make an image from a container's changes"),
    "images": ("images", "Images", "List images"),
    "rmi": ("rmi", "Images", "Remove images"),
    "tag": ("tag", "Images", "Give an image another name"),
    "history": ("history", "Images", "Show how an image was made"),
    "import": ("import_", "Images", "Make an image from a tar of a root filesystem"),
    "load": ("load", "Images", "Load images from a tar archive"),
    "save": ("save", "Images", "Save images to a tar archive"),
    "inspect": ("inspect", "System", "Show everything known about containers, images, volumes, networks"),
    "events": ("events", "System", "Show what happens, as it happens"),
    "info": ("info", "System", "Show the daemon and its machine"),
    "version": ("version", "System", "Show versions of client and daemon"),
    "daemon": ("daemon", "System", "Run the daemon (other commands start it by themselves)"),
    "system df": ("system_df", "System", "Show disk usage"),
    "system check": ("system_check", "System", "Check that this machine can run containers"),
    "system reset": ("system_reset", "System", "Remove everything that Carboy made"),
    "volume ls": ("volume_ls", "Volumes and networks", "List volumes"),
    "volume create": ("volume_create", "Volumes and networks", "Create a volume"),
    "volume inspect": ("volume_inspect", "Volumes and networks", "Show everything known about volumes"),
    "volume rm": ("volume_rm", "Volumes and networks", "Remove volumes"),
    "volume prune": ("volume_prune", "Volumes and networks", "Remove volumes that no container uses"),
    "network ls": ("network_ls", "Volumes and networks", "List networks"),
    "network inspect": ("network_inspect", "Volumes and networks", "Show everything known about networks"),
}

_CONTAINER = [
    "run",
    "create",
    "start",
    "stop",
    "restart",
    "kill",
    "wait",
    "rm",
    "logs",
    "exec",
    "attach",
    "pause",
    "unpause",
    "rename",
    "commit",
    "inspect",
]

ALIASES: dict[str, str] = {
    **{f"container {name}": name for name in _CONTAINER},
    "container ls": "ps",
    "container list": "ps",
    "container ps": "ps",
    "container remove": "rm",
    "image ls": "images",
    "image list": "images",
    "image rm": "rmi",
    "image remove": "rmi",
    "image tag": "tag",
    "image history": "history",
    "image import": "import",
    "image load": "load",
    "image save": "save",
    "image inspect": "inspect",
    "system info": "info",
    "system events": "events",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "network list": "network ls",
}
"""Docker's grouped forms; `container inspect` and `image inspect` also fix the type."""

GROUP_WORDS = ("container", "image", "system", "volume", "network")

LATER = {
    "build": "building images comes in a later version",
    "pull": "pulling comes in a later version: use `carboy import` or `carboy load`",
    "push": "pushing comes in a later version: use `carboy save`",
    "cp": "comes in a later version: use a bind mount, or `carboy exec`",
    "export": "comes in a later version: use `carboy commit` and `carboy save`",
    "diff": "comes in a later version",
    "top": "comes in a later version: use `carboy exec CONTAINER ps`",
    "stats": "comes in a later version",
    "port": "publishing ports comes in a later version",
    "update": "comes in a later version",
    "login": "registries come in a later version",
    "logout": "registries come in a later version",
    "compose": "comes in a later version",
}
"""Commands that Docker has and this version has not, with what to do instead."""
