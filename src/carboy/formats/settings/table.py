"""The one table of the daemon's settings: for flags, the file, the reload and the documentation.

A setting has the name that it has in the file; its flag may be named in the singular.  Kinds:

    bool   true or false            list   several texts (repeat the flag)
    text   one text                 map    texts by name: {"a": "b"}, --flag a=b
    int    a whole number           ulimits  {"nofile": {"Soft": 1, "Hard": 2}}, --flag nofile=1:2

This module is loaded before the daemon listens, and by the command line: constants only.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Value = bool | int | str | tuple[str, ...] | dict[str, str]

WORKS, RESERVED, REFUSED = "works", "reserved", "refused"


class Setting:
    """One row."""

    __slots__ = ("default", "effect", "flag", "kind", "name", "reload", "sentence", "short")

    def __init__(
        self,
        name: str,
        kind: str,
        default: Value,
        sentence: str,
        *,
        flag: str = "",
        short: str = "",
        reload: bool = False,
        effect: str = WORKS,
    ) -> None:
        self.name = name
        self.kind = kind
        self.default = default
        self.sentence = sentence
        self.flag = flag or name
        self.short = short
        self.reload = reload
        self.effect = effect


_LATER = "Takes effect with registries, which come in a later version"
_PROXY = "For RUN and ADD in builds, where it enters no image; the environment's variable counts without it"
_ALWAYS = "Containers always run on while the daemon is away; accepted, and cannot be switched off"

SETTINGS: tuple[Setting, ...] = (
    # Where things are
    Setting("data-root", "text", "", "Directory of what lasts (CARBOY_ROOT)"),
    Setting("exec-root", "text", "", "Directory of sockets and mounts (CARBOY_RUN)"),
    Setting("pidfile", "text", "", "File that holds the daemon's process id while it runs"),
    # Who may talk to it
    Setting(
        "hosts", "list", (), "Listen here: unix:///path, fd:// (systemd), tcp://address:port",
        flag="host", short="H",
    ),
    Setting("group", "text", "", "Group that may use the unix sockets", short="G"),
    Setting("tls", "bool", False, "Speak TLS on TCP; implied by tlsverify"),
    Setting("tlsverify", "bool", False, "Speak TLS on TCP and demand a certificate of the client"),
    Setting("tlscacert", "text", "/etc/carboy/tls/ca.pem", "Trust client certificates of this authority"),
    Setting("tlscert", "text", "/etc/carboy/tls/cert.pem", "The daemon's certificate"),
    Setting("tlskey", "text", "/etc/carboy/tls/key.pem", "The key of the daemon's certificate"),
    Setting(
        "insecure-tcp", "bool", False,
        "Listen on TCP without client certificates: whoever reaches the port is root here",
    ),
    Setting("metrics-addr", "text", "", "Serve Prometheus metrics at http://ADDRESS:PORT/metrics"),
    Setting("debug-endpoints", "bool", False, "Serve /debug/vars and /debug/threads on the API"),
    # What it says
    Setting("debug", "bool", False, "Log more", short="D", reload=True),
    Setting(
        "log-level", "text", "info", "Log from this level on: debug, info, warn, error, fatal",
        short="l", reload=True,
    ),
    Setting("log-format", "text", "text", "Form of the daemon's own log: text or json", reload=True),
    Setting("labels", "list", (), "Labels of this daemon, key=value, in `info`", flag="label", reload=True),
    # Its life
    Setting(
        "shutdown-timeout", "int", 15, "Seconds that requests under way may take when the daemon ends",
        reload=True,
    ),
    Setting("live-restore", "bool", True, _ALWAYS, reload=True),
    Setting(
        "features", "map", {}, "Switches by name, true or false; none is known yet: told in the log",
        flag="feature", reload=True,
    ),
    Setting("oom-score-adjust", "int", 0, "Set the daemon's own oom_score_adj (-1000 to 1000)"),
    # Containers, unless they say otherwise
    Setting("log-driver", "text", "json-file", "Log driver of new containers", reload=True),
    Setting("log-opts", "map", {}, "Options of that log driver", flag="log-opt", reload=True),
    Setting(
        "default-ulimits", "ulimits", {}, "Limits of new containers", flag="default-ulimit", reload=True
    ),
    Setting("default-shm-size", "text", "64m", "Size of /dev/shm of new containers", reload=True),
    Setting(
        "default-ipc-mode", "text", "private", "IPC of new containers: private or shareable", reload=True
    ),
    Setting(
        "default-cgroupns-mode", "text", "", "Cgroup namespace of new containers: private or host",
        reload=True,
    ),
    Setting("init", "bool", False, "Run an init in new containers that forwards signals", reload=True),
    Setting(
        "no-new-privileges", "bool", False, "New containers cannot gain privileges by setuid programs",
        reload=True,
    ),
    Setting("dns", "list", (), "Name servers of new containers", reload=True),
    Setting(
        "dns-opts", "list", (), "Options of the resolver of new containers", flag="dns-opt", reload=True
    ),
    Setting("dns-search", "list", (), "Search domains of new containers", reload=True),
    Setting("seccomp-profile", "text", "builtin", "Seccomp profile: builtin, unconfined, or a file"),
    Setting("default-runtime", "text", "carboy", "The runtime: carboy (runc is taken for it)"),
    Setting(
        "cdi-spec-dirs", "list", ("/etc/cdi", "/var/run/cdi"), "Directories of CDI specifications (devices)",
        flag="cdi-spec-dir",
    ),
    # The default network
    Setting("bridge", "text", "", "Name of the default network's bridge", short="b"),
    Setting("bip", "text", "", "Address and prefix of that bridge: 10.9.0.1/24"),
    Setting("mtu", "int", 0, "MTU of the default network; 0: that of the way out"),
    # Builds
    Setting("builder-gc", "bool", True, "Bound the build cache by itself, after builds", reload=True),
    Setting(
        "builder-gc-keep-storage", "text", "",
        "Bytes that the build cache may take (20g); empty: a tenth of the disk, 20 GB at least",
        reload=True,
    ),
    # Registries: kept, shown by `info`, used when there are registries
    Setting(
        "insecure-registries", "list", (), _LATER, flag="insecure-registry", reload=True, effect=RESERVED
    ),
    Setting("registry-mirrors", "list", (), _LATER, flag="registry-mirror", reload=True, effect=RESERVED),
    Setting("max-concurrent-downloads", "int", 3, _LATER, reload=True, effect=RESERVED),
    Setting("max-concurrent-uploads", "int", 5, _LATER, reload=True, effect=RESERVED),
    Setting("max-download-attempts", "int", 5, _LATER, reload=True, effect=RESERVED),
    Setting("http-proxy", "text", "", _PROXY),
    Setting("https-proxy", "text", "", _PROXY),
    Setting("no-proxy", "text", "", _PROXY),
    # Docker's, that this engine does not have: the harmless value is accepted
    Setting("experimental", "bool", False, "Nothing here is behind this switch", effect=REFUSED),
    Setting("selinux-enabled", "bool", False, "There is no SELinux support", effect=REFUSED),
    Setting("userns-remap", "text", "", "User namespaces of the daemon are not supported", effect=REFUSED),
    Setting(
        "authorization-plugins", "list", (), "There are no plugins", flag="authorization-plugin",
        effect=REFUSED,
    ),
    Setting("storage-driver", "text", "", "The store chooses its driver by itself", short="s",
            effect=REFUSED),
    Setting("storage-opts", "list", (), "The store has no options", flag="storage-opt", effect=REFUSED),
    Setting("cgroup-parent", "text", "", "Groups lie below /carboy", effect=REFUSED),
    Setting("exec-opts", "list", (), "Control groups are always written directly (cgroupfs)",
            flag="exec-opt", effect=REFUSED),
    Setting("iptables", "bool", True, "Rules are written by nftables, always", effect=REFUSED),
    Setting("ip-masq", "bool", True, "The default network is always masqueraded", effect=REFUSED),
    Setting("icc", "bool", True, "Containers of the default network reach each other", effect=REFUSED),
    Setting("ipv6", "bool", False, "The default network has no IPv6 yet", effect=REFUSED),
    Setting("userland-proxy", "bool", True, "One helper serves what rules cannot, always", effect=REFUSED),
)  # fmt: skip

BY_NAME: dict[str, Setting] = {one.name: one for one in SETTINGS}

FLAGS: tuple[tuple[str, str, str, str], ...] = tuple(
    (
        one.flag,
        one.short,
        {"text": "string", "map": "list", "ulimits": "list"}.get(one.kind, one.kind),
        one.sentence,
    )
    for one in SETTINGS
)
"""The same as flags of the command line (`carboy.cli.flags`)."""

OWN_FLAGS: tuple[tuple[str, str, str, str], ...] = (
    ("config-file", "", "string", "Read this file instead of /etc/carboy/daemon.json"),
    ("validate", "", "bool", "Check the settings and leave"),
    ("root", "", "string", "The same as --data-root, unless the file names another one"),
    ("run", "", "string", "The same as --exec-root, unless the file names another one"),
    ("on-demand", "", "bool", "Started by another command"),
    ("ready-fd", "", "int", "Descriptor that is told when the daemon listens"),
)

ALL_FLAGS = (*FLAGS, *OWN_FLAGS)
"""Everything that `carboy daemon` takes."""
