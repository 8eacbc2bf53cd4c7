"""The chaos run: nothing lost, nothing twice.

    python -m bench.chaos                                    about a minute of load: what `make chaos` does
    python -m bench.chaos --texts 10000 --faults 1000 …      the long form: `make chaos-long`, a quarter of an hour
    python -m bench.chaos --bridge both --markdown           beside the tutorial's bridge, under the same schedule

People text through simulated providers while processes are killed and halted, and the database and the broker go away.
Every call to a provider may fail in every possible way. Then all faults end, the bridge gets two minutes to come to
rest, and the providers' ledger is the judge. Exit code 1 means a loss, double, disorder, crossing or leak; a process
that ended by itself; a slow recovery; or a planned disaster that never struck.

Everything stays on this machine and ends by itself. The run kills only what it has started.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench import operators, people
from bench.disasters import (
    CALLS_PER_TEXT,
    Disaster,
    Happened,
    Stage,
    by_themselves,
    missed,
    play,
    schedule,
    set_provider_faults,
)
from bench.judgement import Judgement, judge_team, leaks, pronounce
from bench.operators import Operators
from bench.report import shown
from bench.result import Result
from bench.speed import measured
from bench.supervisor import Supervisor
from bridge.processes.embedded import free_port
from bridge.simulator import Simulator, SimulatorSettings, serve
from bridge.simulator.ledger import FaultStruck
from testkit.places import PLACES, Place
from testkit.procfile import ROOT
from testkit.proxies import HERE, Proxies
from testkit.servers import Missing

AGENT_TIMEOUT = 15
"""Seconds. Short, so that the agent can outlast it within a short run."""

WORKER_CONCURRENCY = "50"
"""The default of an operator: many threads wait for a provider at a time."""

SENDER_RATE = "25"
"""Segments a second for each of the two numbers. After a disaster the waiting texts come faster, and must queue."""

SETTLE_WITHIN = 120.0
"""Seconds from the end of the last fault until everything must be at rest."""

WATCH_AFTERWARDS = 10.0
"""Seconds in which nothing more may happen. A double may come late."""

CHECK_EVERY = 3.0

OUR_SLOTS = ("web", "worker", "worker", "clock")
PROCFILES = {"ours": ROOT / "Procfile", "tutorial": ROOT / "bench" / "tutorial" / "Procfile"}


@dataclass(frozen=True)
class Options:
    """The options of a run."""

    texts: int
    faults: int
    phones: int
    rate: float
    seed: int
    disaster_every: float
    """Seconds of load for each disaster. The other faults are the providers'."""
    setup: str
    bridge: str
    agent: str
    """Its provider. ``both``: Retell at the first number, UponAI at the second."""
    operators: bool
    """Operators take conversations over and hand them back."""
    accepted_only: bool
    markdown: bool
    keep: bool


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, _as_interrupt)
    bridges = ["ours", "tutorial"] if options.bridge == "both" else [options.bridge]
    try:
        results = {bridge: run(bridge, options) for bridge in bridges}
    except Missing as missing:
        sys.exit(f"{missing}")
    print(shown(results, _title(options), markdown=options.markdown))
    sys.exit(exit_code(results.values()))


def exit_code(results: Iterable[Result]) -> int:
    return int(not all(result.clean for result in results))


def run(bridge: str, options: Options) -> Result:
    """Run one bridge through the schedule of the seed."""
    folder = Path(tempfile.mkdtemp(prefix=f"bridge-chaos-{bridge}-"))
    with ExitStack() as stack:
        place = stack.enter_context(PLACES[options.setup](folder))
        settings = SimulatorSettings(
            echo=True,
            account_sid="AC" + "5" * 32,
            auth_token="token-of-the-account",
            number=people.NUMBERS[0],
            more_numbers=people.NUMBERS[1:],
            webhook_threads=64,
            seed=options.seed,
        )
        simulator = Simulator(settings)
        providers = stack.enter_context(serve(simulator))
        stage = _stage(bridge, options, place, simulator, providers, folder, stack)
        result = _play(bridge, options, stage)
        if options.keep or not result.clean:
            rows = (json.dumps(row) for row in simulator.ledger.export())
            (folder / "ledger.jsonl").write_text("\n".join(rows))
            (folder / "disasters.txt").write_text("\n".join(map(str, result.happened)))
            print(f"\n{bridge}: the ledger and what the processes printed are in {folder}", file=sys.stderr)
    if result.clean and not options.keep:
        shutil.rmtree(folder)
    return result


def _stage(
    bridge: str,
    options: Options,
    place: Place,
    simulator: Simulator,
    providers: str,
    folder: Path,
    stack: ExitStack,
) -> Stage:
    """Start everything between the providers and the servers."""
    port_of_both = urlsplit(providers).port or 0
    proxies = Proxies({**place.ports, "agent": port_of_both, "carrier": port_of_both})
    stack.callback(proxies.close)
    port = free_port(HERE)
    settings = _environment(place, proxies, simulator, port) | _agent(options.agent, simulator, proxies)
    simulator.webhook_url = f"{settings['PUBLIC_URL']}/twilio/inbound#rc=5&rp=5xx,ct,rt"
    simulator.events_url = f"{settings['PUBLIC_URL']}/retell/events"
    simulator.uponai_events_url = f"{settings['PUBLIC_URL']}/uponai/events"
    lines = dict(line.split(": ", 1) for line in PROCFILES[bridge].read_text().splitlines())
    if place.sqlite:
        slots = [("up", f"{sys.executable} -m bridge up --port {port}")]
    else:
        slots = [(name, lines[name]) for name in OUR_SLOTS if name in lines]
    supervisor = Supervisor(slots, folder, settings, options.seed)
    stack.callback(supervisor.close)
    if not place.sqlite:
        supervisor.once("release", lines["release"])
    supervisor.start(port)
    length = options.texts / options.rate
    percent = 100 * max(0, options.faults - length / options.disaster_every) / (options.texts * CALLS_PER_TEXT)
    return Stage(place, proxies, supervisor, simulator, AGENT_TIMEOUT, percent, settings["PUBLIC_URL"])


def _environment(place: Place, proxies: Proxies, simulator: Simulator, port: int) -> dict[str, str]:
    settings = simulator.settings
    return {
        **place.settings(proxies.ports),
        "PORT": str(port),
        "PUBLIC_URL": f"http://{HERE}:{port}",
        "GUNICORN_CMD_ARGS": f"--bind {HERE}:{port}",
        "WEB_CONCURRENCY": "2",
        "WORKER_CONCURRENCY": WORKER_CONCURRENCY,
        "TWILIO_ACCOUNT_SID": settings.account_sid,
        "TWILIO_AUTH_TOKEN": settings.auth_token,
        "TWILIO_API_BASE_URL": f"http://{HERE}:{proxies.ports['carrier']}",
        "TWILIO_NUMBERS": ",".join(settings.numbers),
        "AGENT_TIMEOUT": f"{AGENT_TIMEOUT}s",
        "ANSWER_WITHIN": "1h",
        "SENDER_RATE": SENDER_RATE,
        "HANDOFF_REPLY": "",
        "ADMIN_TOKENS": ",".join(f"{name}:{token}" for name, token in operators.TOKENS.items()),
    }


def _agent(provider: str, simulator: Simulator, proxies: Proxies) -> dict[str, str]:
    address = f"http://{HERE}:{proxies.ports['agent']}"
    settings = simulator.settings
    return settings.agents_at_both(address) if provider == "both" else settings.agent_at(provider, address)


def _play(bridge: str, options: Options, stage: Stage) -> Result:
    """Run the load and the disasters, then wait for rest, then judge."""
    rng = random.Random(options.seed)
    length = options.texts / options.rate
    planned = people.plan(rng, options.texts, options.phones, options.rate)
    disasters = _disasters(rng, stage, options, length)
    stopped = threading.Event()
    _tell(f"{bridge}: {len(planned)} texts, {len(disasters)} disasters, {length:.0f} s, seed {options.seed}")
    set_provider_faults(stage, webhooks_lost=not options.accepted_only)
    load = threading.Thread(target=people.text, args=(stage.simulator, planned, stopped), daemon=True)
    load.start()
    team = Operators(stage.address, options.seed) if bridge == "ours" and options.operators else None
    if team:
        team.start()
    try:
        happened = play(stage, disasters, stopped)
        load.join()
    finally:
        stopped.set()
    stage.simulator.faults.clear()
    if team:
        team.stop()
    return _peace(bridge, options, stage, happened, missed(disasters, happened), team)


def _disasters(rng: random.Random, stage: Stage, options: Options, length: float) -> list[Disaster]:
    there = {name for name, _ in stage.supervisor.slots} | set(stage.place.servers)
    if stage.place.sqlite:
        there.add("sqlite")
    return schedule(rng, there, min(options.faults, round(length / options.disaster_every)), length)


def _peace(
    bridge: str,
    options: Options,
    stage: Stage,
    happened: list[Happened],
    never: list[str],
    team: Operators | None,
) -> Result:
    """Wait until all is at rest, watch whether it stays so, and judge."""
    began = time.monotonic()
    _tell("all faults are over; waiting until everything is at rest")
    settled = _settle(bridge, options, stage)
    settled_in = time.monotonic() - began
    if settled:
        time.sleep(WATCH_AFTERWARDS)
    judgement = _judged(bridge, options, stage)
    if team:
        judge_team(judgement, stage.simulator.ledger, team)
    if bridge == "ours":
        shown = leaks(stage.supervisor.output)
        judgement.leaks = len(shown)
        judgement.details["leaks"] = shown[:5]
        ended = by_themselves(stage.supervisor.ended, happened)
        judgement.ended_by_themselves = len(ended)
        judgement.details["ended by themselves"] = [f"{process}" for process in ended[:5]]
    ledger = stage.simulator.ledger
    struck = Counter(f"{each.kind}" for each in happened) + Counter(each.name for each in ledger.of(FaultStruck))
    return Result(judgement, happened, never, struck, measured(ledger, happened), settled, settled_in)


def _settle(bridge: str, options: Options, stage: Stage) -> bool:
    """Wait until everything is complete.

    Return False after the time limit: then what is lost will not come any more.
    """
    until = time.monotonic() + SETTLE_WITHIN
    while time.monotonic() < until:
        if _judged(bridge, options, stage).complete and not stage.simulator.agent.thinking():
            return True
        time.sleep(CHECK_EVERY)
    return False


def _judged(bridge: str, options: Options, stage: Stage) -> Judgement:
    database = stage.place.settings(stage.place.ports)["DATABASE_URL"] if bridge == "ours" else None
    return pronounce(stage.simulator.ledger, accepted_only=options.accepted_only, database=database)


def _tell(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def _title(options: Options) -> str:
    load = f"{options.texts} texts of {options.phones} phones"
    return f"{options.setup}, agent at {options.agent}, {load}, seed {options.seed}"


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _options(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description="Nothing lost, nothing twice.")
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--faults", type=int, default=300, help="roughly, in total")
    parser.add_argument("--phones", type=int, default=150)
    parser.add_argument("--rate", type=float, default=10.0, help="texts a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--disaster-every", type=float, default=3.0, help="seconds: a minute has most kinds of them")
    parser.add_argument("--setup", choices=list(PLACES), default="postgres-redis")
    parser.add_argument("--bridge", choices=["ours", "tutorial", "both"], default="ours")
    parser.add_argument("--agent", choices=["retell", "uponai", "both"], default="retell", help="its provider")
    parser.add_argument("--operators", action="store_true", help="operators take over and hand back all the time")
    parser.add_argument("--accepted-only", action="store_true", help="judge only texts that were answered with 200")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the ledger and the logs of a good run too")
    options = Options(**vars(parser.parse_args(arguments)))
    if options.setup == "up-sqlite" and options.bridge != "ours":
        parser.error("the tutorial's bridge needs a broker; choose another setup")
    if options.agent != "retell" and options.bridge != "ours":
        parser.error("the tutorial's bridge knows Retell only")
    return options


if __name__ == "__main__":
    main()
