"""`./aisle demo`: a store with people in it, on this machine, from radio frame to offer and heatmap."""

import fcntl
import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TextIO

import httpx
import typer
from rich.console import Console
from rich.panel import Panel

from cli import ROOT
from cli.stack.cloud import LocalCloud
from cli.stack.processes import StackError
from cli.stack.store import SimulatedStore, node_addresses, opening_instant
from contract.clock import SimulatedClock
from simulators import scenario_files as scenarios
from simulators.scenario import Scenario
from simulators.setup import busiest_start_us
from simulators.world import World

app = typer.Typer(add_completion=False)

TENANT = "demo"
HISTORY_DAY_S = 20
TOLD_EVERY_S = 60.0
"""Roughly what a day of history takes: the clock begins so much earlier, so that live begins at a busy minute."""
SETTING_UP_US = 180 * 1_000_000
"""History ends when the store is set up, at most so long after the clock began."""


@app.command()
def demo(
    for_s: Annotated[
        float | None, typer.Option("--for", help="End after so many live seconds and print the figures.")
    ] = None,
    days: Annotated[
        int, typer.Option(min=0, max=60, help="Days of history before today, fast-forwarded at first start.")
    ] = 2,
    seed: Annotated[int, typer.Option(help="Another seed is another crowd.")] = 1,
    scenario: Annotated[str, typer.Option(help="Which store to simulate.")] = "corner-store",
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the last demo and begin anew.")] = False,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="The console's port; a free one is found and kept if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --for: one JSON object on stdout.")] = False,
) -> None:
    """Simulate a store: six nodes, shoppers with tags and phones, a till, a campaign; with its console and app.

    Two nodes read RFID tags of goods and members' cards, one counts phones that look for Wi-Fi: live, not in history.
    Ctrl-C ends it; the next start goes on where it stopped. Everything listens on this machine only.

    Of the figures: ghosts are decisions for the control group, which is sent nothing so that lift can be measured.
    pushes_without_trigger are offers shown to somebody who had not truly dwelt long enough: the locator was wrong.
    push_p50_ms and push_p95_ms count from the true instant at which a dwell was full to the screen; negative is too
    early, for the dwell is estimated. They are null when no such offer fell into the run.
    """
    console = Console(stderr=True)
    root = ROOT / ".aisle" / "demo"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        figures = run(root, scenario, seed, days, for_s, port, console, fresh=fresh)
    except StackError as error:
        console.print(f"[red]demo:[/red] {error}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("stopped; ./aisle demo goes on from here")
        raise typer.Exit(0) from None
    if figures is not None:
        if figures["push_p50_ms"] is None:
            console.print(f"no latencies: {_why_no_latency(figures, for_s or 0.0)}", highlight=False)
        print(json.dumps(figures) if as_json else "\n".join(f"{name:>18} {value}" for name, value in figures.items()))


def run(
    root: Path,
    scenario: str,
    seed: int,
    days: int,
    for_s: float | None,
    port: int | None,
    console: Console,
    *,
    fresh: bool,
) -> dict[str, Any] | None:
    """The whole demo; returns its figures if it was to end by itself. Raises StackError."""
    begun = time.monotonic()
    try:
        known = scenarios.load(scenario)  # before anything is forgotten: a typo must not cost the last demo
    except (OSError, scenarios.ScenarioError) as error:
        raise StackError(f"scenario {scenario!r}: {error}") from None
    with _hold(root):  # a second demo must not write over the first one's files
        return _run_held(root, known, scenario, seed, days, for_s, port, console, begun, fresh=fresh)


def _run_held(
    root: Path,
    known: Scenario,
    scenario: str,
    seed: int,
    days: int,
    for_s: float | None,
    port: int | None,
    console: Console,
    begun: float,
    *,
    fresh: bool,
) -> dict[str, Any] | None:
    state = _State.load(root)
    if fresh:
        _forget(root)
        state = None
    elif state and (state.seed, state.scenario) != (seed, scenario):
        raise StackError(
            f"the last demo is of scenario {state.scenario}, seed {state.seed}; --fresh forgets it and begins another"
        )
    nodes = node_addresses(known, TENANT)
    clock = _begin_clock(scenario, seed, 0 if state else days, state, for_s)
    past_us = 0 if state else clock.start_us + SETTING_UP_US
    cloud = LocalCloud(root, TENANT, nodes, clock=clock.spec(), history_until_us=past_us, port=port, claims=True)
    store = SimulatedStore(cloud, scenario, seed, clock.spec())
    with cloud:
        cloud.start(console.print)
        if not store.is_set_up:
            store.set_up(console.print)
        store.write_files()
        startup_s = time.monotonic() - begun
        console.print(_welcome(store))
        history_s = 0.0
        if state is None:
            history_s = _fast_forward(store, clock.now_us(), days, console)
        _State(scenario, seed, clock.now_us()).save(root)
        store.start()
        try:
            _watch(store, for_s, console)
        finally:
            _State(scenario, seed, clock.now_us()).save(root)
        if for_s is None:
            return None
        return _finish(store) | {"startup_s": round(startup_s, 1), "history_s": round(history_s, 1)}


def _why_no_latency(figures: Mapping[str, Any], for_s: float) -> str:
    """Why a run has no time from a dwell to its offer, and what run would have."""
    if figures["pushes_without_trigger"]:
        why = "all offers shown were for dwells that began before the run, or for none"
    else:
        why = f"no offer was triggered by a true dwell in {for_s:g} s"
    longer = 300 if for_s < 300 else round(2 * for_s)
    return f"{why}; --for {longer} gives some"


@dataclass(frozen=True, slots=True)
class _State:
    """What the next start must know."""

    scenario: str
    seed: int
    at_us: int

    @classmethod
    def load(cls, root: Path) -> "_State | None":
        file = root / "state.json"
        return cls(**json.loads(file.read_text())) if file.exists() else None

    def save(self, root: Path) -> None:
        fields = {"scenario": self.scenario, "seed": self.seed, "at_us": self.at_us}
        (root / "state.json").write_text(json.dumps(fields))


def _hold(root: Path) -> TextIO:
    """The one demo at a time that may use the folder. Raises StackError while another runs."""
    root.parent.mkdir(parents=True, exist_ok=True)
    lock = (root.parent / f"{root.name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StackError("a demo runs here already; end it with Ctrl-C first") from None
    return lock


def _forget(root: Path) -> None:
    """Remove the last demo's data, wherever the database put it."""
    from cli.stack.postgres import Postgres

    if (root / "postgres").exists():
        Postgres(root / "postgres").destroy()
    shutil.rmtree(root, ignore_errors=True)


def _begin_clock(scenario: str, seed: int, days: int, state: _State | None, for_s: float | None) -> SimulatedClock:
    world = World(scenarios.load(scenario), seed)
    lead_us = (days + 1) * HISTORY_DAY_S * 1_000_000

    def busiest(day: Any) -> int:
        return busiest_start_us(world, day, span_s=int(for_s or 300)) - lead_us

    start_us = opening_instant(world.scenario, busiest, state.at_us if state else None)
    return SimulatedClock(start_us, time.time_ns() // 1_000)


def _welcome(store: SimulatedStore) -> Panel:
    url = store.cloud.url
    logins = "\n".join(f"  {role:<11} {login.login:<18} {login.password}" for role, login in store.cloud.logins.items())
    members = json.loads((store.folder / "members.json").read_text())
    member = members[0]
    text = (
        f"console   {url}/console/\n{logins}\n"
        f"app       {url}/app/\n"
        f"  card        {member['card']}\n"
        f"  code        {member['activation_code']} (good for three devices)\n"
        f"api       {url}/docs\n"
        f"inventory {url}/v1/stores/{store.scenario.store.store}/inventory\n"
        "            tags by zone, for who is signed in to the console; live only\n\n"
        "Its clock began at a busy moment of a simulated day, not now.\n"
        "DEMO DATA: a simulated store, nobody real."
    )
    return Panel(text, title=f"Aisle - {store.scenario.store.name}", expand=False)


def _fast_forward(store: SimulatedStore, until_us: int, days: int, console: Console) -> float:
    begun = time.monotonic()
    with console.status("history") as status:
        for line in store.history(until_us, days):
            _revive(store, console)
            if "share" in line:
                status.update(
                    f"history: {line['share']:.0%}, {line['at'][:16].replace('T', ' ')}, {line['events']} events"
                )
    seconds = time.monotonic() - begun
    console.print(f"history: {days} days and this morning in {seconds:.0f} s")
    return seconds


def _revive(store: SimulatedStore, console: Console) -> None:
    """Start again what ended by itself, as systemd or the container runtime would."""
    for server, name in ((store.cloud.postgres, "the database"), (store.cloud.broker, "the broker")):
        if not server.running:
            console.print(f"[red]{name} is gone[/red]; it is started again")
            try:
                server.start()
            except StackError as error:  # what it left behind may need a second to go away
                console.print(f"{error}; tried again in a second")
    for ended in store.cloud.processes.ended():
        console.print(f"[red]{ended}[/red]; it is started again")
        store.cloud.processes.restart(ended.name)


def _watch(store: SimulatedStore, for_s: float | None, console: Console) -> None:
    """The live line, until the time is up or Ctrl-C."""
    deadline = time.monotonic() + for_s if for_s is not None else None
    campaign, place = store.scenario.campaign.campaign, store.scenario.store.store
    stored = None
    told_at = 0.0
    stop = threading.Event()
    with store.staff() as api, console.status("live") as status:
        while deadline is None or time.monotonic() < deadline:
            _revive(store, console)
            try:
                progress, now, result = (
                    api.get(path).raise_for_status().json()
                    for path in ("/v1/progress", f"/v1/stores/{place}/now", f"/v1/campaigns/{campaign}/result")
                )
            except httpx.HTTPError as error:
                status.update(f"live: the api does not answer ({error}); it is retried")
                stop.wait(1)
                continue
            rate = progress["events_stored"] - stored if stored is not None else 0
            stored = progress["events_stored"]
            people = now["people"]["n"] if now["people"]["n"] is not None else f"<{now['people']['less_than']}"
            lift = f"{result['lift_pp']:+.1f} pp" if result["verdict"] != "unknown" else "too early to tell"
            line = f"live: {rate} events/s, {people} recognised people, {result['sent']} offers, lift so far {lift}"
            status.update(line)
            if not console.is_terminal and time.monotonic() >= told_at:  # a file or a pipe: now and then is enough
                console.print(line)
                told_at = time.monotonic() + TOLD_EVERY_S
            left = 1.0 if deadline is None else min(1.0, max(0.0, deadline - time.monotonic()))
            stop.wait(left)


def _finish(store: SimulatedStore) -> dict[str, Any]:
    """End people and nodes, drain, and count."""
    seen = store.stop_people()
    store.stop_nodes()
    with store.staff() as api:
        store.drain(api)
        progress = api.get("/v1/progress").raise_for_status().json()
        stock = api.get(f"/v1/stores/{store.scenario.store.store}/inventory").raise_for_status().json()
    return {
        "events_stored": progress["events_stored"],
        "events_lost": store.accepted() - progress["events_stored"],
        "positions": progress["positions"],
        "visits": progress["visits"],
        "receipts": progress["receipts"],
        "receipts_joined": progress["receipts_joined"],
        "offers_decided": progress["offers_decided"],
        "ghosts": progress["ghosts"],
        "pushes_delivered": progress["pushes_delivered"],
        "push_p50_ms": seen.get("push_p50_ms"),
        "push_p95_ms": seen.get("push_p95_ms"),
        "pushes_live": len(seen.get("push_latencies_ms", ())),
        "pushes_without_trigger": seen.get("pushes_without_trigger"),
        "tagged_things": sum(article["tags"] for article in stock),
    }
