"""Docker's templates, as far as they are served."""

from __future__ import annotations

import pytest

from stockade.cli.template import parse, render, titles
from stockade.errors import BadValue

VALUE = {
    "Names": "web",
    "State": {"Status": "running", "Pid": 7, "Dead": False},
    "Args": ["a", "b"],
    "Labels": {"x": "1"},
    "Nothing": None,
}


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{.Names}}", "web"),
        ("{{ .State.Status }}/{{.State.Pid}}", "running/7"),
        ("{{.State.Dead}}", "false"),
        ("{{json .Args}}", '["a","b"]'),
        ("{{json .}}", None),
        ('{{join .Args ","}}', "a,b"),
        ('{{index .Labels "x"}}', "1"),
        ("{{.Args}}", "[a b]"),
        ("{{.Labels}}", "map[x:1]"),
        ("{{len .Args}}", "2"),
        ("{{.Names | upper}}", "WEB"),
        ("{{range .Args}}<{{.}}>{{end}}", "<a><b>"),
        ("{{range .Args}}{{$.Names}} {{end}}", "web web "),
        ("{{if .State.Dead}}dead{{else}}alive{{end}}", "alive"),
        ('{{if eq .State.Status "running"}}yes{{end}}', "yes"),
        ('{{if (eq .State.Status "x" "running")}}yes{{end}}', "yes"),
        (r"{{.Names}}\t{{.Names}}", "web\tweb"),
        ("a {{- .Names -}} b", "awebb"),
        ("{{/* a comment */}}x", "x"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
    ],
)
def test_a_template_is_filled_in(template: str, shown: str | None) -> None:
    found = render(parse(template), VALUE)
    assert found == shown if shown is not None else found.startswith('{"Names":"web"')


@pytest.mark.parametrize(
    "template",
    ["{{.Names", "{{.Nonesuch}}", "{{with .Names}}x{{end}}", "{{range .Args}}x", "{{end}}", "{{}}", "{{frob .Names}}"],
)
def test_what_is_not_served_is_refused(template: str) -> None:
    with pytest.raises(BadValue, match="--format"):
        render(parse(template), VALUE)


def test_a_table_has_titles() -> None:
    assert titles(parse("{{.Names}}\t{{.CreatedAt}}")) == "NAMES\tCREATED AT"
