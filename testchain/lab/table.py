"""cosmovisor, the real one, against each answer that a hook and a guard can give: one chain of one validator per row."""
import dataclasses
import signal
import time

from .rpc import until
from .run import PLAN, Run

RESTARTS = 6


@dataclasses.dataclass
class Row:
    """`script`: what the custom script does, {consent} being Baton's hook or its stand-in; `baton`: the same where Baton runs."""
    name: str
    script: str
    consents: bool = False
    trouble: str = ""
    baton: str = ""


ROWS = [
    Row("success", "{consent}", consents=True),
    Row("refusal", "exit 1", baton="{consent}"),
    Row("panic", "exit 101"),
    Row("killed script", "kill -9 $$"),
    Row("cosmovisor killed while the script runs", "sleep 4; {consent}", consents=False, trouble="kill"),
    Row("a script that hangs", "sleep 3600", trouble="hang"),
    Row("a script with its own time limit", "timeout -k 1 3 sleep 3600", baton="{consent}"),
    Row("no script set", "", trouble="unset"),
]


class Case:
    """One row's chain. Every call of the script and every start of the new binary leaves a line in `calls`."""

    def __init__(self, options, row, at):
        options.folder = options.folder_of_table / f"row{at}"
        self.run, self.row = Run(options), row
        self.run.begin(powers=[100], voting="4s", expedited="3s", chain_id=f"cosmovisor-{at}")
        self.node, self.baton = self.run.net.nodes[0], self.run.batons[0]
        self.calls, self.may = self.node.home / "calls.log", self.node.home / "may-start"
        self.calls.touch()

    def write_script(self, body):
        if self.run.with_baton:
            consent = self.baton.hook(6).split("\n", 1)[1].replace("exec ", "")
        else:
            consent = f'touch "{self.may}"'
        script = self.node.home / "cosmovisor/baton-hook"
        # Replaced, not rewritten: cosmovisor may be running it.
        new = script.with_suffix(".new")
        new.write_text(f'#!/bin/sh\necho script >> "{self.calls}"\n' + body.replace("{consent}", consent) + "\n")
        new.chmod(0o755)
        new.replace(script)

    def write_guard(self):
        """What cosmovisor starts as the new binary: it says so, and asks the guard."""
        real = self.run.net.binaries / "testchaind-v2"
        if self.run.with_baton:
            guard = self.baton.guarded(PLAN, real).split("\n", 1)[1]
        else:
            guard = f'[ "$1" = start ] && [ ! -e "{self.may}" ] && exit 1\nexec "{real}" "$@"\n'
        target = self.node.home / f"cosmovisor/upgrades/{PLAN}/bin/testchaind"
        target.unlink(missing_ok=True)
        target.write_text(f'#!/bin/sh\necho "new $1" >> "{self.calls}"\n' + guard)
        target.chmod(0o755)

    def counts(self):
        """(calls of the script, starts of the new binary that were asked for)"""
        lines = self.calls.read_text().splitlines()
        return lines.count("script"), lines.count("new start")

    def vote(self):
        height = self.node.rpc.newest() + 22
        proposal, _ = self.run.propose(height=height)
        self.run.voted(proposal)
        return height

    def lives(self, height):
        return (self.node.rpc.height() or 0) > height + 1

    def settle(self, height, seconds):
        """Until the chain goes on or cosmovisor ended; 'goes on', 'ended N' or 'waits'."""
        try:
            until("an outcome", lambda: self.lives(height) or not self.node.process.alive(), seconds)
        except TimeoutError:
            return "waits"
        return "goes on" if self.lives(height) else f"ended {self.node.process.code}"

    def restart(self):
        self.node.stop()
        unset = self.row.trouble == "unset"
        self.node.start(cosmovisor={} if unset else {"COSMOVISOR_CUSTOM_PREUPGRADE": "baton-hook"})


def play(case):
    """Plays a row; returns its cells."""
    row, t = case.row, case.run.t
    case.write_script(row.baton or row.script if case.run.with_baton else row.script)
    case.write_guard()
    if row.consents or row.trouble == "kill":
        case.run.deliver()
    if row.trouble == "unset":
        case.restart()
        case.node.wait_height(3)
    height = case.vote()
    until("the halt", lambda: (case.node.home / "data/upgrade-info.json").exists() or case.lives(height), 120, 0.05)
    note = ""
    if row.trouble == "kill":
        until("the script", lambda: case.counts()[0] > 0, 20)
        case.node.process.kill()
        note = f"{len(case.node.process.members())} processes left behind; "
    outcome = case.settle(height, 12)
    if row.trouble == "hang":
        t.check(outcome == "waits", f"{row.name}: cosmovisor knows no time limit", outcome)
        began = time.monotonic()
        case.node.process.send(signal.SIGTERM)
        until("cosmovisor to end at SIGTERM, or not", lambda: not case.node.process.alive() or time.monotonic() > began + 5, 10)
        note = "ends at SIGTERM; " if not case.node.process.alive() else "ignores SIGTERM; "
    first, current = case.counts(), case.node.current()
    t.check((outcome == "goes on") == row.consents, f"{row.name}: the new binary runs only with consent", outcome)
    cells = [row.name, outcome, str(first[0]), current, note + again(case, height) if not row.consents else "nothing to do"]
    return cells


def again(case, height):
    """A supervisor restarts without consent, then consent is given and it restarts until the chain goes on."""
    before, row = case.counts(), case.row
    for made in range(1, RESTARTS + 1):
        case.restart()
        # Where the script hangs, cosmovisor hangs with it.
        if case.settle(height, 4 if row.trouble == "hang" else 15) == "goes on":
            break
    after = case.counts()
    tried = (f"{made} restart{'s' if made > 1 else ''} by a supervisor: script called {after[0] - before[0]} times, "
             f"new binary asked for {after[1] - before[1]} times")
    if row.trouble == "kill":
        # The script is whole again: it consents by itself.
        case.run.t.check(case.lives(height), f"{row.name}: a restart finishes what was begun")
        return f"{tried}; goes on"
    case.run.t.check(not case.lives(height), f"{row.name}: {made} restarts without consent run nothing new")
    case.write_script("{consent}")
    case.run.deliver()
    if row.trouble == "unset":
        # Nobody asks Baton: the operator does the handover by hand, and the guard lets the new binary pass.
        case.baton.upgrade(PLAN, wait=60)
        case.may.touch()
    more = 0
    while not case.lives(height) and more < 12:
        case.restart()
        case.settle(height, 15)
        more += 1
    case.run.t.check(case.lives(height), f"{row.name}: with consent the chain goes on")
    return f"{tried}; with consent: goes on at restart {more}"


def run(options):
    """Plays all rows and prints the table; whether all that must hold did."""
    options.folder_of_table, options.cosmovisor = options.folder, True
    rows, held = [], True
    for at, row in enumerate(ROWS):
        case = Case(options, row, at)
        try:
            rows.append(play(case))
        except Exception as error:
            case.run.t.check(False, f"{row.name}: the row came to its end", f"{type(error).__name__}: {error}")
            rows.append([row.name, "no outcome", "", "", ""])
        finally:
            held &= case.run.finish()
    print("| custom script | cosmovisor | calls | `current` | afterwards |")
    print("| --- | --- | --- | --- | --- |")
    for cells in rows:
        print("| " + " | ".join(cells) + " |")
    return held
