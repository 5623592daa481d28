"""Instructions of `commit --change` and `import --change`."""

from __future__ import annotations

from typing import Any

import pytest

from stockade.errors import BadValue
from stockade.images import changes

PORTS = ("80/tcp", "53/udp", "8000/tcp", "8001/tcp", "8002/tcp")
CASES: list[tuple[str, dict[str, Any]]] = [
    ('CMD ["a", "b c"]', {"Cmd": ["a", "b c"]}),
    ("cmd a b", {"Cmd": ["/bin/sh", "-c", "a b"]}),
    ("CMD [not json", {"Cmd": ["/bin/sh", "-c", "[not json"]}),
    ("ENV A b c", {"Env": ["A=b c"]}),
    ("ENV A=b C='d e' F=\\ g", {"Env": ["A=b", "C=d e", "F= g"]}),
    ("LABEL a=b \"c d\"=e", {"Labels": {"a": "b", "c d": "e"}}),
    ("EXPOSE 80 53/udp 8000-8002", {"ExposedPorts": {port: {} for port in PORTS}}),
    ("USER a:b", {"User": "a:b"}),
    ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
    ('VOLUME ["/a b"]', {"Volumes": {"/a b": {}}}),
    ("WORKDIR /a/../b", {"WorkingDir": "/b"}),
    ("WORKDIR c", {"WorkingDir": "/c"}),
    ("STOPSIGNAL SIGUSR1", {"StopSignal": "SIGUSR1"}),
    ("ONBUILD RUN x", {"OnBuild": ["RUN x"]}),
    ('SHELL ["/bin/bash", "-c"]', {"Shell": ["/bin/bash", "-c"]}),
    ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
    ("HEALTHCHECK --interval=5s --retries=3 CMD curl x", {"Healthcheck": {
        "Test": ["CMD-SHELL", "curl x"], "Interval": 5_000_000_000, "Retries": 3}}),
    ('HEALTHCHECK CMD ["a"]', {"Healthcheck": {"Test": ["CMD", "a"]}}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "config"), CASES, ids=[line for line, _ in CASES])
def test_each_instruction(line: str, config: dict[str, Any]) -> None:
    assert changes.apply({}, [line]) == config


def test_they_follow_each_other() -> None:
    before = {"Cmd": ["old"], "Env": ["A=1", "B=2"], "Labels": {"x": "1"}}
    after = changes.apply(before, ["ENV A=$B C=${D:-4}", 'ENTRYPOINT ["e"]', "LABEL y=2"])
    assert after == {"Env": ["A=2", "B=2", "C=4"], "Entrypoint": ["e"], "Labels": {"x": "1", "y": "2"}}
    assert before["Env"] == ["A=1", "B=2"]
    assert changes.apply({}, ["CMD a", "ENTRYPOINT b"])["Cmd"] == ["/bin/sh", "-c", "a"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("RUN x", "RUN is not a valid change command"),
        ("", "'' is not a valid change command"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=b C", "Syntax error - can't find = in 'C'. Must be of the form: name=value"),
        ("ENV =b", "ENV names can not be blank"),
        ("EXPOSE x", "invalid containerPort: x"),
        ("EXPOSE 70000", "invalid containerPort: 70000"),
        ("USER a b", "USER requires exactly one argument"),
        ("ONBUILD ONBUILD x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("SHELL bash", "SHELL requires the arguments to be in JSON form"),
        ("HEALTHCHECK --x=1 CMD y", "unknown flag: --x"),
        ("HEALTHCHECK FOO", "unknown type 'FOO' in HEALTHCHECK (try CMD)"),
        ("LABEL 'a=b", "unexpected end of statement while looking for matching ': 'a=b"),
    ],
)
def test_what_is_none(line: str, words: str) -> None:
    with pytest.raises(BadValue) as refusal:
        changes.apply({}, [line])
    assert refusal.value.message == words
