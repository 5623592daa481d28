"""One container by an engine: created and started, run to its end, entered. Docker's API and CLI on both sides.

Network `none` everywhere. Through the raw client only the engine is seen; the docker CLI adds the same to both.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.engines import IMAGE, Engines, engines
from bench.figures import OURS, Context, Failed, Figure, Program, Sample, take_turns
from bench.wire import Client

NONE = ("--network", "none")


def measure(context: Context) -> list[Figure]:
    with engines() as found:
        return [*starts(context, found), *runs(context, found), *executions(context, found)]


def starts(context: Context, found: Engines) -> list[Figure]:
    """POST create sent → start answered."""
    clients = found.clients()
    samples = take_turns({who: starter(client, client.create) for who, client in clients.items()}, context.turns)
    stops = take_turns({who: _remover(client) for who, client in clients.items()}, context.turns // 2)
    ours = {OURS: samples[OURS]}
    return [
        Figure("create and start answered", "ms", samples, peer="docker", at_most=0.05, note="image unpacked, warm"),
        Figure("… of itself", "ms", ours, at_most=12),
        Figure("removal by force of what runs", "ms", stops, peer="docker"),
    ]


def starter(client: Client, create: Callable[..., str]) -> Callable[[], float]:
    """What it takes, in ms, until a container stands and its start is answered."""

    def once() -> float:
        begun = time.perf_counter()
        identity = create(IMAGE, "sleep", "1000")
        client.start(identity)
        spent = (time.perf_counter() - begun) * 1000
        client.remove(identity)
        return spent

    return once


def _remover(client: Client) -> Callable[[], float]:
    def once() -> float:
        identity = client.create(IMAGE, "sleep", "1000")
        client.start(identity)
        return client.timed("DELETE", f"/containers/{identity}?force=1")

    return once


def runs(context: Context, found: Engines) -> list[Figure]:
    """`run --rm IMAGE true` from the shell to the exit."""
    words = ("run", "--rm", *NONE, IMAGE, "true")
    cli = {who: found.docker(who, *words) for who in (OURS, "docker")}
    contestants: dict[str, Callable[[], float]] = {"cli": cli[OURS], "docker": cli["docker"], **found.runs("true")}
    own = _own(found, "run", *words)
    samples = take_turns({**contestants, **own}, context.turns)
    figures = _row("stockade run --rm, to the exit", samples, {"cli"}, 0.3) if own else []
    by_cli = {OURS: samples["cli"], **{who: samples[who] for who in samples if who not in (OURS, "cli")}}
    row = Figure("docker run --rm on our socket", "ms", by_cli, peer="docker", at_most=0.25, note=bare(context))
    return [*figures, row]


def bare(context: Context) -> str:
    """What the docker CLI costs on both sides before it asks an engine for anything."""
    found = take_turns({"docker": Program(["docker", "--version"])}, context.turns // 2)["docker"]
    return f"{found.median:.0f} ms of it, and of docker's, are the start of the docker CLI itself"


def executions(context: Context, found: Engines) -> list[Figure]:
    """`exec true` in a container that runs."""
    clients = found.clients()
    names = {}
    for who, client in clients.items():
        names[who] = client.create(IMAGE, "sleep", "1000")
        client.start(names[who])
    cli = {who: found.docker(who, "exec", name, "true") for who, name in names.items()}
    own = _own(found, "exec", "exec", names[OURS], "true")
    contestants: dict[str, Callable[[], float]] = {"cli": cli[OURS], "docker": cli["docker"], **own}
    samples = take_turns(contestants, context.turns)
    raw = take_turns({who: _entered(clients[who], names[who]) for who in clients}, context.turns)
    for who, client in clients.items():
        client.remove(names[who])
    figures = _row("stockade exec, to the exit", samples, {"cli"}, 0.25) if own else []
    by_cli = {OURS: samples["cli"], "docker": samples["docker"]}
    return [
        *figures,
        Figure("docker exec on our socket", "ms", by_cli, peer="docker", at_most=0.25, note=bare(context)),
        Figure("exec by the API, to the exit", "ms", raw, peer="docker", at_most=0.25),
    ]


def _entered(client: Client, name: str) -> Callable[[], float]:
    """Create an exec, start it detached, ask until it has ended."""

    def once() -> float:
        begun = time.perf_counter()
        made = client("POST", f"/containers/{name}/exec", {"Cmd": ["true"]})["Id"]
        client("POST", f"/exec/{made}/start", {"Detach": True})
        while (state := client("GET", f"/exec/{made}/json"))["Running"]:
            time.sleep(0.0005)
        spent = (time.perf_counter() - begun) * 1000
        if state["ExitCode"] != 0:
            raise Failed(f"exec ended with {state['ExitCode']}")
        return spent

    return once


def _own(found: Engines, what: str, *words: str) -> dict[str, Callable[[], float]]:
    """Our own command, when it serves images."""
    program = found.stockade(*words)
    try:
        program()
    except Failed as error:
        print(f"engine: `stockade {what}` is not measured: {error}", flush=True)
        return {}
    return {OURS: program}


def _row(name: str, samples: dict[str, Sample], without: set[str], at_most: float) -> list[Figure]:
    kept = {who: found for who, found in samples.items() if who not in without}
    return [Figure(name, "ms", kept, peer="docker", at_most=at_most)]
