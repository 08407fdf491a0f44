"""Templates as Docker's users write them."""

from __future__ import annotations

import pytest

from carboy.cli.gotemplate import Fields, Template, TemplateError
from carboy.cli.optionalfields import typed

DATA = {
    "Name": "/web",
    "State": {"Status": "running", "Running": True, "ExitCode": 0},
    "List": ["a", "b"],
    "Map": {"k": "v", "a": "b"},
    "None": None,
    "Number": 1.5,
    "Big": 10**15,
}

CASES = [
    ("{{.State.Status}}", "running"),
    ("{{ .Name }} {{.State.ExitCode}}", "/web 0"),
    ("{{json .List}}", '["a","b"]'),
    ("{{json .}}"[:0] + "{{json .State}}", '{"Status":"running","Running":true,"ExitCode":0}'),
    (
        "{{.List}} {{.Map}} {{.None}} {{.Number}} {{.Big}}",
        "[a b] map[a:b k:v] <no value> 1.5 1000000000000000",
    ),
    ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
    ("{{if .None}}x{{else if .List}}y{{else}}z{{end}}", "y"),
    ("{{range .List}}<{{.}}>{{end}}", "<a><b>"),
    ("{{range $i, $e := .List}}{{$i}}={{$e}} {{end}}", "0=a 1=b "),
    ("{{range $k, $v := .Map}}{{$k}}:{{$v}};{{end}}", "a:b;k:v;"),
    ("{{range .None}}x{{else}}empty{{end}}", "empty"),
    ("{{with .State}}{{.Status}}{{end}}", "running"),
    ("{{$s := .State}}{{$s.Status}}{{$.Name}}", "running/web"),
    ('{{index .Map "k"}}{{index .List 1}}', "vb"),
    ('{{join .List ","}}', "a,b"),
    ("{{.Name | upper | lower | title}}", "/Web"),
    ("{{len .List}}{{len .Name}}", "24"),
    ('{{printf "%s-%d-%v-%q|%5s|%-3d|" .Name 7 .List "x" "r" 2}}', '/web-7-[a b]-"x"|    r|2  |'),
    ('{{println .Name}}{{print "a" 1}}', "/web\na1"),
    ('{{if eq .State.Status "exited" "running"}}y{{end}}{{if ne 1 2}}n{{end}}', "yn"),
    ("{{if and .State.Running (not .None)}}y{{end}}{{or .None .Name}}", "y/web"),
    ("{{if and (gt 2 1) (le 1 1) (lt 1 2) (ge 2 2)}}y{{end}}", "y"),
    ("a {{- .Name -}} b", "a/webb"),
    ('{{/* nothing */}}x{{`raw"`}}', 'xraw"'),
    ('{{(index .List 0) | printf "%s!"}}', "a!"),
    ('{{range split "x,y" ","}}{{.}}{{end}}{{slice .Name 1 3}}{{truncate .Name 2}}', "xywe/w"),
    ('{{json .Map.k}}{{if .Map}}{{range .List}}{{if eq . "b"}}!{{end}}{{end}}{{end}}', '"v"!'),
    ("no actions", "no actions"),
    ('{{"}}"}}', "}}"),
]


@pytest.mark.parametrize(("source", "expected"), CASES)
def test_rendering(source: str, expected: str) -> None:
    assert Template(source).render(DATA) == expected


@pytest.mark.parametrize(
    "source",
    ["{{", "{{.Name", "{{end}}", "{{if .Name}}", "{{range}}x{{end}}", "{{nosuch .Name}}", "{{.Name 1}}",
     "{{}}",
     "{{(.Name}}", '{{"x}}', "{{.Missing}}", "{{.Name.First}}", "{{.None.X}}", "{{index .List 9}}", "{{$x}}",
     "{{1x}}", "{{len 5}}", "{{" + "(" * 1000 + "}}", "{{if .Name}}" * 1000, "{{range .Number}}{{end}}"],
)  # fmt: skip
def test_mistakes_are_template_errors(source: str) -> None:
    with pytest.raises(TemplateError):
        Template(source).render(DATA)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('{{define "x"}}[{{.}}]{{end}}{{template "x" .A}}', "[1]"),
        ('{{block "x" .A}}({{.}}){{end}}', "(1)"),
        ("{{range .L}}{{if eq . 2}}{{break}}{{end}}{{.}}{{end}}", "1"),
        ("{{range .L}}{{if eq . 2}}{{continue}}{{end}}{{.}}{{end}}", "13"),
        ('{{print 1 2}} {{print "a" 1}} {{print "a" "b"}}', "1 2 a1 ab"),
        ('{{html "<a>"}} {{urlquery "a b&c"}}', "&lt;a&gt; a+b%26c"),
        ('{{printf "%d" "x"}} {{printf "%s" 1}} {{printf "%T" .A}}', "%!d(string=x) %!s(int=1) int"),
        ('{{title "a/b c_d"}} {{len "é"}}', "A/B C_d 2"),
    ],
)
def test_more_of_go(template: str, expected: str) -> None:
    assert Template(template).render({"A": 1, "L": [1, 2, 3]}) == expected


@pytest.mark.parametrize(
    "template", ["{{break}}", '{{template "x"}}', "{{define}}", '{{define "x"}}', "{{block}}"]
)
def test_what_go_refuses_too(template: str) -> None:
    with pytest.raises(TemplateError):
        Template(template).render({})


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{.Label}}", ':1:2: executing "" at <.Label>: wrong number of args for Label: want 1 got 0'),
        ('{{.Label "a" "b"}}', "want 1 got 2"),
        ('{{"a" | .Label "b"}}', "want 1 got 2"),
        ("{{.Label 1}}", "wrong type for value; expected string; got int"),
    ],
)
def test_methods_take_what_they_take(template: str, said: str) -> None:
    fields = Fields({"ID": "x"}, {"Label": str.upper})
    assert Template('{{.Label "a"}}{{"b" | .Label}}').render(fields) == "AB"
    with pytest.raises(TemplateError) as caught:
        Template(template).render(fields)
    assert said in str(caught.value)


def test_templates_that_use_themselves_end() -> None:
    with pytest.raises(TemplateError, match="too deeply"):
        Template('{{define "x"}}{{template "x"}}{{end}}{{template "x"}}').render({})


def test_optional_fields_have_zero_values() -> None:
    document = typed("container", {"State": {"Status": "running"}, "Config": {"Labels": None, "Cmd": ["x"]}})
    shown = Template(
        "{{.State.Health}} {{json .State.Health}} {{if .State.Health}}a{{else}}none{{end}} "
        "{{.Config.Labels}} {{json .Config.Labels}} {{.Config.Shell}} {{.Config.Cmd}} {{.SizeRw}}"
    ).render(document)
    assert shown == "<nil> null none map[] null [] [x] <nil>"
    assert Template("{{json .}}").render(document) == (
        '{"State":{"Status":"running"},"Config":{"Labels":null,"Cmd":["x"]}}'
    )
    with pytest.raises(TemplateError, match="map has no entry"):
        Template("{{.State.Nope}}").render(document)
