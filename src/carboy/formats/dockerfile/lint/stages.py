"""The instructions of a plan's stages with what is known at each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from carboy.formats.dockerfile.instructions import AnyInstruction, Shell, Workdir
from carboy.formats.dockerfile.scope import BUILDER_ARGUMENTS, PROXIES, Scope
from carboy.formats.dockerfile.stages import Plan, Stage

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

POPULAR = frozenset(
    (
        "LANG", "LC_ALL", "LANGUAGE", "TZ", "HOME", "DEBIAN_FRONTEND",
        "PYTHON_VERSION", "PYTHON_SHA256", "GPG_KEY", "PYTHON_PIP_VERSION", "PYTHON_SETUPTOOLS_VERSION",
        "PYTHON_GET_PIP_URL", "PYTHON_GET_PIP_SHA256", "CONDA_DIR", "CONDA_PREFIX", "MAMBA_ROOT_PREFIX",
        "MAMBA_USER", "MAMBA_EXE", "ENV_NAME", "NB_USER", "NB_UID", "NB_GID", "JULIA_PATH", "JULIA_VERSION",
        "R_VERSION", "R_HOME", "RSTUDIO_VERSION", "CRAN", "NODE_VERSION", "YARN_VERSION", "GOPATH", "GOROOT",
        "GOLANG_VERSION", "GOTOOLCHAIN", "CARGO_HOME", "RUSTUP_HOME", "RUST_VERSION", "JAVA_HOME",
        "JAVA_VERSION",
        "MAVEN_HOME", "MAVEN_VERSION", "MAVEN_CONFIG", "GRADLE_HOME", "GRADLE_VERSION", "GEM_HOME",
        "RUBY_VERSION",
        "RUBY_MAJOR", "BUNDLE_APP_CONFIG", "BUNDLE_SILENCE_ROOT_WARNING", "PHP_VERSION", "PHP_INI_DIR",
        "APACHE_CONFDIR", "APACHE_ENVVARS", "APACHE_DOCUMENT_ROOT", "HTTPD_PREFIX", "NGINX_VERSION",
        "NJS_VERSION",
        "PG_MAJOR", "PG_VERSION", "PGDATA", "MYSQL_MAJOR", "MYSQL_VERSION", "GOSU_VERSION", "REDIS_VERSION",
        "CUDA_VERSION", "CUDA_HOME", "CUDNN_VERSION", "NCCL_VERSION", "LD_LIBRARY_PATH", "LIBRARY_PATH",
        "NV_CUDA_LIB_VERSION", "NVARCH", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
        "PYTORCH_VERSION",
        "DOTNET_VERSION", "ASPNET_VERSION", "CATALINA_HOME", "TOMCAT_VERSION", "SPARK_HOME", "AIRFLOW_HOME",
        "FLINK_HOME", "HADOOP_HOME", "VIRTUAL_ENV", "PYTHONPATH", "PKG_CONFIG_PATH", "MANPATH",
    )
)  # fmt: skip
"""Variables that popular images set: taken as set by a base whose environment is not known."""

_UNDECLARED = frozenset(BUILDER_ARGUMENTS)
_NO_NAMES: frozenset[str] = frozenset()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One instruction."""

    written: AnyInstruction
    meant: AnyInstruction
    """With its variables replaced."""
    undefined: tuple[str, ...]
    """Variables that nothing sets."""
    variables: Mapping[str, str]
    """What words are expanded with, after it: those of now, so look before the next step."""
    has_shell: bool
    """A SHELL stands before it, in this stage or in one that it begins from."""
    has_workdir: bool


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One stage."""

    stage: Stage
    steps: Iterator[Step]
    """To be read once, to the end, before the next view: nothing is kept, files may be large."""


class _Standing(msgspec.Struct):
    """What a stage hands on to those that begin from it."""

    scope: Scope
    assumed: frozenset[str]
    has_shell: bool = False
    has_workdir: bool = False


def views(
    plan: Plan,
    *,
    escape: str,
    given: Mapping[str, str],
    environments: Mapping[str, Sequence[str]],
) -> Iterator[View]:
    """The reachable stages, in an order in which bases come first; raises DockerfileError.

    `environments`: those of base images that are known, by the name that FROM says.
    """
    after: dict[int, _Standing] = {}
    waiting = Counter(
        plan.stages[index].base.stage for index in plan.reachable if plan.stages[index].base.kind == "stage"
    )
    values = dict(plan.global_arguments)
    for index in plan.reachable:
        stage = plan.stages[index]
        standing = _beginning(stage, after, escape, given, values, environments)
        if stage.base.kind == "stage":
            waiting[stage.base.stage] -= 1
            if not waiting[stage.base.stage]:
                del after[stage.base.stage]
        if waiting[index]:
            after[index] = standing
        yield View(stage=stage, steps=(_step(each, standing) for each in stage.instructions))


def _beginning(
    stage: Stage,
    after: Mapping[int, _Standing],
    escape: str,
    given: Mapping[str, str],
    values: Mapping[str, str],
    environments: Mapping[str, Sequence[str]],
) -> _Standing:
    if stage.base.kind == "stage":
        base = after[stage.base.stage]
        return _Standing(base.scope.child(), base.assumed, base.has_shell, base.has_workdir)
    environment = environments.get(stage.base.name)
    scope = Scope(
        environment=[DEFAULT_PATH, *(environment or ())],
        given=given,
        global_arguments=values,
        escape=escape,
    )
    known = environment is not None or stage.base.kind == "scratch"
    return _Standing(scope, _NO_NAMES if known else POPULAR)


def _step(instruction: AnyInstruction, standing: _Standing) -> Step:
    scope = standing.scope
    expanded = scope.apply(instruction)
    undefined = [
        name
        for name in sorted(expanded.unset)
        if name not in scope.arguments
        and name not in standing.assumed
        and name not in _UNDECLARED
        and name.upper() not in PROXIES
    ]
    step = Step(
        written=instruction,
        meant=expanded.instruction,
        undefined=tuple(undefined),
        variables=scope.variables,
        has_shell=standing.has_shell,
        has_workdir=standing.has_workdir,
    )
    standing.has_shell |= isinstance(instruction, Shell)
    standing.has_workdir |= isinstance(instruction, Workdir)
    return step
