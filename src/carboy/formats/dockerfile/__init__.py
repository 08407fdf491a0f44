"""The Dockerfile language: text to nodes, nodes to instructions, instructions to stages.

    text ──parse_nodes──▶ File of Nodes ──parse_instruction──▶ instructions ──plan──▶ stages
         nodes.py           (spans, words)    grammar.py    (typed, not expanded)   stages.py

    source.py        Span, Limits, DockerfileError (points at the text), suggestions
    nodes.py         lines, continuations, comments, directives, heredocs
    tree.py          File, Node, Word, Heredoc, Directive: what is written where
    arguments.py     one logical line to a Node
    words.py         Lexer: `$X`, `${X:-d}` …, quotes, words; which variables were asked for
    patterns.py      the wildcards of `${X#p}`, in bounded time
    instructions.py  From, Run, Copy …: the typed values; start here to use the package
    grammar.py       nodes to instructions: flags, counts, forms
    runflags.py      RUN's --mount and --device
    modes.py         --chmod
    scope.py         ARG and ENV at one point of a stage; instructions with variables replaced
    stages.py        which stages there are, what each needs, which are not needed

Everything is pure, frozen and printable.  Import from the modules; this one imports nothing.
May import: `carboy.errors`, the standard library, msgspec.
"""
