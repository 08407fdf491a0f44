"""The one table of commands: for dispatch, help and completion.

A row: `name: (module, group, summary)`.  Docker's grouped forms map onto the same modules;
modules are imported when their command runs, never before.
"""

from __future__ import annotations

GROUPS = ("Containers", "Images", "System", "Volumes and networks", "Contexts")

COMMANDS: dict[str, tuple[str, str, str]] = {
    "run": ("run", "Containers", "Create and run a new container from an image"),
    "create": ("create", "Containers", "Create a new container"),
    "start": ("start", "Containers", "Start stopped containers"),
    "stop": ("stop", "Containers", "Stop running containers"),
    "restart": ("stop", "Containers", "Restart containers"),
    "kill": ("kill", "Containers", "Send a signal to running containers"),
    "wait": ("wait", "Containers", "Wait until containers stop, then print their exit codes"),
    "rm": ("rm", "Containers", "Remove containers"),
    "ps": ("ps", "Containers", "List containers"),
    "logs": ("logs", "Containers", "Show what a container printed"),
    "exec": ("exec", "Containers", "Run a command in a running container"),
    "attach": ("attach", "Containers", "Attach the terminal to a running container"),
    "pause": ("pause", "Containers", "Pause all processes of containers"),
    "unpause": ("pause", "Containers", "Let paused containers go on"),
    "rename": ("rename", "Containers", "Give a container another name"),
    "cp": ("cp", "Containers", "Copy files between a container and this machine"),
    "diff": ("diff", "Containers", "Show what a container has changed in its filesystem"),
    "port": ("port", "Containers", "Show where a container's ports are published"),
    "top": ("top", "Containers", "Show the processes of a container"),
    "stats": ("stats", "Containers", "Show what containers use, as it changes"),
    "update": ("update", "Containers", "Change limits and restart policies of containers"),
    "container prune": ("container_prune", "Containers", "Remove the containers that do not run"),
    "export": ("export", "Containers", "Write a container's filesystem to a tar archive"),
    "build": ("build", "Images", "Build an image from a Dockerfile, or check one"),
    "builder prune": ("builder_prune", "Images", "Remove the build cache"),
    "builder du": ("builder_du", "Images", "Show what the build cache holds"),
    "commit": ("commit", "Images", "Make an image from a container's changes"),
    "images": ("images", "Images", "List images"),
    "rmi": ("rmi", "Images", "Remove images"),
    "tag": ("tag", "Images", "Give an image another name"),
    "history": ("history", "Images", "Show how an image was made"),
    "import": ("import_", "Images", "Make an image from a tar of a root filesystem"),
    "load": ("load", "Images", "Load images from a tar archive"),
    "save": ("save", "Images", "Save images to a tar archive"),
    "inspect": ("inspect", "System", "Show everything known about containers, images, volumes, networks"),
    "container inspect": ("kind_inspect", "Containers", "Show everything known about containers"),
    "image prune": ("image_prune", "Images", "Remove images that nobody uses"),
    "image inspect": ("kind_inspect", "Images", "Show everything known about images"),
    "events": ("events", "System", "Show what happens, as it happens"),
    "info": ("info", "System", "Show the daemon and its machine"),
    "version": ("version", "System", "Show versions of client and daemon"),
    "daemon": ("daemon", "System", "Run the daemon (other commands start it by themselves)"),
    "completion": ("completion", "System", "Print a completion script for a shell"),
    "system df": ("system_df", "System", "Show disk usage"),
    "system prune": ("system_prune", "System", "Remove everything that nobody uses"),
    "system check": ("system_check", "System", "Check that this machine can run containers"),
    "system dial-stdio": ("system_dial_stdio", "System", "Join standard input and output to the daemon"),
    "system as-docker": ("system_as_docker", "System", "Put Carboy at Docker's name and socket, or --undo"),
    "system reset": ("system_reset", "System", "Remove everything that Carboy made"),
    "volume ls": ("volume_ls", "Volumes and networks", "List volumes"),
    "volume create": ("volume_create", "Volumes and networks", "Create a volume"),
    "volume inspect": ("kind_inspect", "Volumes and networks", "Show everything known about volumes"),
    "volume rm": ("volume_rm", "Volumes and networks", "Remove volumes"),
    "volume update": ("volume_update", "Volumes and networks", "Change a volume of a swarm"),
    "volume prune": ("volume_prune", "Volumes and networks", "Remove volumes that no container uses"),
    "network prune": ("network_prune", "Volumes and networks", "Remove networks that no container uses"),
    "network ls": ("network_ls", "Volumes and networks", "List networks"),
    "context ls": ("context_ls", "Contexts", "List contexts"),
    "context create": ("context_create", "Contexts", "Name a daemon: here, over TLS or through ssh"),
    "context use": ("context_use", "Contexts", "Make a context the current one"),
    "context show": ("context_show", "Contexts", "Print the name of the current context"),
    "context inspect": ("context_inspect", "Contexts", "Show everything known about contexts"),
    "context update": ("context_update", "Contexts", "Change a context"),
    "context rm": ("context_rm", "Contexts", "Forget contexts"),
    "context export": ("context_export", "Contexts", "Write a context and its keys to a file"),
    "context import": ("context_import", "Contexts", "Make a context from such a file"),
    "network inspect": ("kind_inspect", "Volumes and networks", "Show everything known about networks"),
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
    "cp",
    "diff",
    "port",
    "export",
    "top",
    "stats",
    "update",
]

ALIASES: dict[str, str] = {
    **{f"container {name}": name for name in _CONTAINER},
    "container ls": "ps",
    "container list": "ps",
    "container ps": "ps",
    "container remove": "rm",
    "image build": "build",
    "builder build": "build",
    "buildx build": "build",
    "buildx b": "build",
    "buildx prune": "builder prune",
    "buildx du": "builder du",
    "image ls": "images",
    "image list": "images",
    "image rm": "rmi",
    "image remove": "rmi",
    "image tag": "tag",
    "image history": "history",
    "image import": "import",
    "image load": "load",
    "image save": "save",
    "system info": "info",
    "system events": "events",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "network list": "network ls",
    "context list": "context ls",
    "context remove": "context rm",
}
"""Docker's grouped forms."""

GROUP_WORDS = ("container", "image", "builder", "buildx", "system", "volume", "network", "context")

_PULL = "pulling comes in a later version: use `carboy load` or `carboy import`"
_PUSH = "pushing comes in a later version: use `carboy save`"
_LOGIN = "registries come in a later version"
_NETWORK = "user-made networks come in a later version: every container can use `bridge`, `host` and `none`"
_SWARM = "Carboy runs on one machine: there are no swarms"
_ONE = "there is one builder, and it is always there: use `carboy build`"
_LATER = "it comes in a later version"

LATER = {
    "buildx bake": _LATER,
    "buildx create": _ONE,
    "buildx inspect": _ONE,
    "buildx ls": _ONE,
    "buildx rm": _ONE,
    "buildx stop": _ONE,
    "buildx use": _ONE,
    "buildx imagetools": _LOGIN,
    "pull": _PULL,
    "push": _PUSH,
    "login": _LOGIN,
    "logout": _LOGIN,
    "search": _LOGIN,
    "manifest": _LOGIN,
    "compose": _LATER,
    "network create": _NETWORK,
    "network connect": _NETWORK,
    "network disconnect": _NETWORK,
    "network rm": _NETWORK,
    "network remove": _NETWORK,
    "checkpoint": "containers cannot be frozen to disk and thawed",
    "plugin": "there are no plugins",
    "trust": "signatures come in a later version",
    "config": _SWARM,
    "node": _SWARM,
    "secret": _SWARM,
    "service": _SWARM,
    "stack": _SWARM,
    "swarm": _SWARM,
}
"""Commands that Docker has and this version has not, with what to do instead."""

LATER_GROUPED = {
    "image": ("pull", "push"),
}
"""Docker's grouped forms of those."""
