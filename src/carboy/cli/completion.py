"""carboy completion.

Prints a script for the shell; the script asks `carboy completion --words` for every answer, so it
never grows old.  To have it always:

    bash   echo 'source <(carboy completion bash)' >> ~/.bashrc
    zsh    echo 'source <(carboy completion zsh)' >> ~/.zshrc
    fish   carboy completion fish > ~/.config/fish/completions/carboy.fish
"""

from __future__ import annotations

from carboy.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "bash|zsh|fish"
FLAGS = (("words", "", "bool", "Print the words that fit after these arguments: what the scripts call"),)
ARGUMENTS = (0, None)
INTERSPERSED = False
OFFLINE = True
EXAMPLES = """
source <(carboy completion bash)
carboy completion --words -- rm we
"""

# The word under the cursor is the last argument; no answer at all leaves it to the shell: file names.
BASH = r"""# bash completion for carboy
_carboy_complete() {
    local word="${COMP_WORDS[COMP_CWORD]}" line="${COMP_LINE:0:COMP_POINT}" words
    IFS=$' \t\n' read -r -a words <<< "$line"   # COMP_WORDS would be split at = and :
    [[ $line == *[[:space:]] ]] && words+=("")
    local IFS=$'\n' last="${words[${#words[@]}-1]}"
    COMPREPLY=($("${words[0]}" completion --words -- "${words[@]:1}" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} -eq 0 ]]; then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$word"))
        return
    fi
    # bash replaces only what follows the last = or : of the word
    local before="${last%"${last##*[=:]}"}"
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
}
complete -F _carboy_complete carboy
"""
ZSH = r"""#compdef carboy
_carboy() {
    local -a found
    found=("${(@f)$(carboy completion --words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ ${#found} -eq 0 || -z ${found[1]} ]]; then _files; else compadd -- $found; fi
}
if [[ ${funcstack[1]} == _carboy ]]; then _carboy "$@"; else compdef _carboy carboy; fi
"""
FISH = r"""# fish completion for carboy
function __carboy_words
    set -l words (commandline -opc)
    set -e words[1]
    set -l last (commandline -ct)
    set -l found (carboy completion --words -- $words "$last" 2>/dev/null)
    if test (count $found) -gt 0
        string join \n -- $found
    else
        __fish_complete_path "$last"
    end
end
complete -c carboy -f -a '(__carboy_words)'
"""


def main(session: Session, parsed: Parsed) -> int:
    """Print a shell's script, or the words that fit."""
    if parsed.flag("words"):
        from carboy.cli.completionwords import words

        found = words(session, parsed.arguments)
        if found:
            session.out("\n".join(found))
        return 0
    scripts = {"bash": BASH, "zsh": ZSH, "fish": FISH}
    if len(parsed.arguments) != 1 or parsed.arguments[0] not in scripts:
        raise UsageError("name one shell: bash, zsh or fish", 1)
    session.out(scripts[parsed.arguments[0]].rstrip("\n"))
    return 0
