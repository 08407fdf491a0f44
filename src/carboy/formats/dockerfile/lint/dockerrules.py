"""The rules that Docker has: its names, its sentences, its addresses; reasons and examples are ours."""

from __future__ import annotations

from carboy.formats.dockerfile.lint.rules import Rule

_LINK = "https://docs.docker.com/go/dockerfile/rule/"

STAGE_NAME_CASING = Rule(
    name="StageNameCasing",
    sentence="Stage names should be lowercase",
    detail="Stage name '{}' should be lowercase",
    why="Names of stages are compared in small letters: `FROM Base` and `FROM base` mean the same stage, "
    "and only "
    "one of them can be seen to.",
    bad="FROM scratch AS BuilderBase\nCOPY a /a\n",
    good="FROM scratch AS builder-base\nCOPY a /a\n",
    link=_LINK + "stage-name-casing/",
)
FROM_AS_CASING = Rule(
    name="FromAsCasing",
    sentence="The 'as' keyword should match the case of the 'from' keyword",
    detail="'{}' and '{}' keywords' casing do not match",
    why="One line, one way of writing: `FROM … as …` is harder to read.",
    bad="FROM scratch as base\nCOPY a /a\n",
    good="FROM scratch AS base\nCOPY a /a\n",
    link=_LINK + "from-as-casing/",
)
NO_EMPTY_CONTINUATION = Rule(
    name="NoEmptyContinuation",
    sentence="Empty continuation lines will become errors in a future release",
    detail="Empty continuation line",
    why="A line that ends in a backslash goes on after an empty line, which few readers expect.",
    bad="FROM scratch\nCOPY a \\\n\n  /a\n",
    good="FROM scratch\nCOPY a \\\n  /a\n",
    link=_LINK + "no-empty-continuation/",
)
CONSISTENT_INSTRUCTION_CASING = Rule(
    name="ConsistentInstructionCasing",
    sentence="All commands within the Dockerfile should use the same casing (either upper or lower)",
    detail="Command '{}' should match the case of the command majority ({})",
    why="Either case works; both in one file make it look as if there was a difference.",
    bad="FROM scratch\ncopy a /a\nCOPY b /b\n",
    good="FROM scratch\nCOPY a /a\nCOPY b /b\n",
    link=_LINK + "consistent-instruction-casing/",
)
DUPLICATE_STAGE_NAME = Rule(
    name="DuplicateStageName",
    sentence="Stage names should be unique",
    detail='Duplicate stage name "{}", stage names should be unique',
    why="`--target` and `COPY --from` take the last stage of that name that stands before them: which one "
    "is a "
    "matter of order.",
    bad="FROM scratch AS base\nCOPY a /a\nFROM scratch AS base\nCOPY b /b\n",
    good="FROM scratch AS base\nCOPY a /a\nFROM scratch AS final\nCOPY b /b\n",
    link=_LINK + "duplicate-stage-name/",
)
RESERVED_STAGE_NAME = Rule(
    name="ReservedStageName",
    sentence="Reserved words should not be used as stage names",
    detail='Stage name should not use the same name as reserved stage "{}"',
    why="`scratch` is the empty image and `context` the build context: a stage of that name cannot be "
    "reached.",
    bad="FROM scratch AS scratch\nCOPY a /a\n",
    good="FROM scratch AS base\nCOPY a /a\n",
    link=_LINK + "reserved-stage-name/",
)
JSON_ARGS_RECOMMENDED = Rule(
    name="JSONArgsRecommended",
    sentence="JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS "
    "signals",
    detail="JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
    why="Without brackets the program runs below `/bin/sh -c`: the shell gets SIGTERM and many shells do "
    "not pass it "
    "on, so that `stop` waits ten seconds and kills. A SHELL instruction says that the shell is meant.",
    bad="FROM scratch\nCMD /app --serve\n",
    good='FROM scratch\nCMD ["/app", "--serve"]\n',
    link=_LINK + "json-args-recommended/",
)
MAINTAINER_DEPRECATED = Rule(
    name="MaintainerDeprecated",
    sentence="The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    detail="Maintainer instruction is deprecated in favor of using label",
    why="Labels can be searched for and filtered by; the author of MAINTAINER is shown by `inspect` only.",
    bad="FROM scratch\nMAINTAINER me@example.org\n",
    good='FROM scratch\nLABEL org.opencontainers.image.authors="me@example.org"\n',
    link=_LINK + "maintainer-deprecated/",
)
UNDEFINED_ARG_IN_FROM = Rule(
    name="UndefinedArgInFrom",
    sentence="FROM command must use declared ARGs",
    detail="FROM argument '{}' is not declared{}",
    why="FROM sees only the ARGs that stand before the first FROM, and the predefined ones of platforms: "
    "any other is "
    "empty.",
    bad="FROM registry.example/app:1${VARIANT}\nCOPY a /a\n",
    good="ARG VARIANT=-slim\nFROM registry.example/app:1${VARIANT}\nCOPY a /a\n",
    link=_LINK + "undefined-arg-in-from/",
)
WORKDIR_RELATIVE_PATH = Rule(
    name="WorkdirRelativePath",
    sentence="Relative workdir without an absolute workdir declared within the build can have unexpected "
    "results if "
    "the base image changes",
    detail='Relative workdir "{}" can have unexpected results if the base image changes',
    why="It is relative to what the base image says, which its authors may change.",
    bad="FROM scratch\nWORKDIR app\n",
    good="FROM scratch\nWORKDIR /app\nWORKDIR sub\n",
    link=_LINK + "workdir-relative-path/",
)
UNDEFINED_VAR = Rule(
    name="UndefinedVar",
    sentence="Variables should be defined before their use",
    detail="Usage of undefined variable '${}'{}",
    why="A variable that nothing sets is empty, and `rm -r $DIR/*` is then something else. (What a base "
    "image sets is not known without fetching it: what popular images set counts as defined.)",
    bad="FROM scratch\nARG DIR_ASSETS=assets\nCOPY $DIR_ASSET /a\n",
    good="FROM scratch\nARG DIR_ASSETS=assets\nCOPY $DIR_ASSETS /a\n",
    link=_LINK + "undefined-var/",
)
MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule(
    name="MultipleInstructionsDisallowed",
    sentence="Multiple instructions of the same type should not be used in the same stage",
    detail="Multiple {} instructions should not be used in the same stage because only the last one will "
    "be used",
    why="CMD, ENTRYPOINT and HEALTHCHECK set one field of the image: the first one is written for nothing.",
    bad='FROM scratch\nCMD ["/one"]\nCMD ["/two"]\n',
    good='FROM scratch\nCMD ["/two"]\n',
    link=_LINK + "multiple-instructions-disallowed/",
)
LEGACY_KEY_VALUE_FORMAT = Rule(
    name="LegacyKeyValueFormat",
    sentence="Legacy key/value format with whitespace separator should not be used",
    detail='"{0} key=value" should be used instead of legacy "{0} key value" format',
    why="`ENV A B=C` sets A to `B=C`, while `ENV A=B C=D` sets two variables: the old form is easily "
    "misread.",
    bad="FROM scratch\nENV DIR /var/lib/app\n",
    good="FROM scratch\nENV DIR=/var/lib/app\n",
    link=_LINK + "legacy-key-value-format/",
)
REDUNDANT_TARGET_PLATFORM = Rule(
    name="RedundantTargetPlatform",
    sentence="Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default "
    "behavior",
    detail="Setting platform to predefined {} in FROM is redundant as this is the default behavior",
    why="Without `--platform` a base is taken for the target's platform anyway.",
    bad="FROM --platform=$TARGETPLATFORM scratch\nCOPY a /a\n",
    good="FROM scratch\nCOPY a /a\n",
    link=_LINK + "redundant-target-platform/",
)
SECRETS_USED_IN_ARG_OR_ENV = Rule(
    name="SecretsUsedInArgOrEnv",
    sentence="Sensitive data should not be used in the ARG or ENV commands",
    detail='Do not use ARG or ENV instructions for sensitive data ({} "{}")',
    why="Both stay in the image: everybody who has it reads them with `history` and `inspect`. A secret "
    "mount is "
    "there for one step and in no layer.",
    bad="FROM scratch\nARG API_TOKEN\nCOPY a /a\n",
    good='FROM scratch\nRUN --mount=type=secret,id=api_token,env=API_TOKEN ["/fetch"]\n',
    link=_LINK + "secrets-used-in-arg-or-env/",
)
INVALID_DEFAULT_ARG_IN_FROM = Rule(
    name="InvalidDefaultArgInFrom",
    sentence="Default value for global ARG results in an empty or invalid base image name",
    detail="Default value for ARG {} results in empty or invalid base image name",
    why="The file should build without `--build-arg`, too: others do not know what to give.",
    bad="ARG VERSION\nFROM registry.example/app:$VERSION\nCOPY a /a\n",
    good="ARG VERSION=1.2\nFROM registry.example/app:$VERSION\nCOPY a /a\n",
    link=_LINK + "invalid-default-arg-in-from/",
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule(
    name="FromPlatformFlagConstDisallowed",
    sentence="FROM --platform flag should not use a constant value",
    detail='FROM --platform flag should not use constant value "{}"',
    why="The stage is then of that platform whatever `--platform` the build is asked for; a stage that is "
    "meant so says "
    "it in its name.",
    bad="FROM --platform=linux/amd64 scratch\nCOPY a /a\n",
    good="FROM --platform=linux/amd64 scratch AS tools-amd64\nCOPY a /a\n",
    link=_LINK + "from-platform-flag-const-disallowed/",
)
COPY_IGNORED_FILE = Rule(
    name="CopyIgnoredFile",
    sentence="Attempting to Copy file that is excluded by .dockerignore",
    detail='Attempting to {} file "{}" that is excluded by .dockerignore',
    why="The build will not find it. (With exceptions, `!…`, in the file nothing is said: a directory may "
    "be excluded "
    "and a file in it not.)",
    bad="FROM scratch\nCOPY tmp/app /app\n",
    good="FROM scratch\nCOPY app /app\n",
    link=_LINK + "copy-ignored-file/",
    ignore="tmp\n",
)
INVALID_DEFINITION_DESCRIPTION = Rule(
    name="InvalidDefinitionDescription",
    sentence="Comment for build stage or argument should follow the format: `# <arg/stage name> "
    "<description>`. If this "
    "is not intended to be a description comment, add an empty line or comment between the instruction and "
    "the "
    "comment.",
    detail="Comment for {} should follow the format: `# {} <description>`",
    why="Such comments are shown as the descriptions of stages and arguments.",
    bad="# check=experimental=InvalidDefinitionDescription\nFROM scratch\n# which one\nARG VERSION=1\n",
    good="# check=experimental=InvalidDefinitionDescription\nFROM scratch\n# VERSION which one\nARG "
    "VERSION=1\n",
    link=_LINK + "invalid-definition-description/",
    experimental=True,
)
EXPOSE_PROTO_CASING = Rule(
    name="ExposeProtoCasing",
    sentence="Protocol in EXPOSE instruction should be lowercase",
    detail="Defined protocol '{}' in EXPOSE instruction should be lowercase",
    why="It is noted in small letters in the image, and compared so.",
    bad="FROM scratch\nEXPOSE 80/TCP\n",
    good="FROM scratch\nEXPOSE 80/tcp\n",
    link=_LINK + "expose-proto-casing/",
)
EXPOSE_INVALID_FORMAT = Rule(
    name="ExposeInvalidFormat",
    sentence="IP address and host-port mapping should not be used in EXPOSE instruction. This will become "
    "an error in a "
    "future release",
    detail="EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
    why="EXPOSE notes a port of the container; where it is published says `run -p`. The rest is thrown away.",
    bad="FROM scratch\nEXPOSE 127.0.0.1:80:80\n",
    good="FROM scratch\nEXPOSE 80\n",
    link=_LINK + "expose-invalid-format/",
)

RULES = tuple(one for one in tuple(globals().values()) if isinstance(one, Rule))
