"""Upgrades in a row on one chain, while chain, cosmovisor, Baton and enclaves are killed at random. A supervisor starts the first three again; an
enclave, which is a process of its own here, is started again by the daemon that owns it."""
import collections
import os
import random
import signal
import threading
import time

from .baton import Refused
from .rpc import until
from .run import SECRET

# Blocks from submitting to the plan's height; shorter than a story's, the vote still fits in.
AHEAD = 75


class Supervisor(threading.Thread):
    """Starts again, a moment later, whatever has ended: cosmovisor and daemons of all nodes, as systemd would."""

    def __init__(self, run):
        super().__init__(daemon=True)
        self.run_, self.starts, self.over, self.trouble = run, collections.Counter(), threading.Event(), []
        self.failed = collections.Counter()
        # Who kills waits until nothing is being started: a process that was never seen to run is no target.
        self.lock = threading.Lock()

    def run(self):
        while not self.over.wait(0.5):
            with self.lock:
                for i, node in enumerate(self.run_.net.nodes):
                    self.keep("cosmovisor", i, node.process, lambda i=i: (self.run_.net.nodes[i].stop(), self.run_.start_node(i)))
                    baton = self.run_.batons[i]
                    if self.run_.with_baton:
                        self.keep("baton", i, baton.process, lambda b=baton: (b.stop(), b.start()))

    def keep(self, what, index, process, again):
        if process and process.alive():
            return
        try:
            again()
            self.starts[what] += 1
            self.failed[what, index] = 0
        except (OSError, RuntimeError, TimeoutError) as error:
            # A command that was run while the daemon was away has the home for a moment: the next start is due at once.
            self.failed[what, index] += 1
            if self.failed[what, index] == 5:
                self.trouble.append(f"{what} of node{index}, 5 times in a row: {error}")

    def close(self):
        self.over.set()
        self.join(60)


class Mayhem:
    """Kills at random; the seed decides what and when, the machine's load how far things have come by then."""

    def __init__(self, run, supervisor, seed):
        self.run, self.supervisor, self.random, self.kills = run, supervisor, random.Random(seed), collections.Counter()

    def until(self, what, check, timeout):
        """Kills every few seconds until `check()` holds."""
        end, following = time.monotonic() + timeout, 0
        while not check():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {timeout} s for {what}, under kills")
            if time.monotonic() >= following:
                self.once()
                following = time.monotonic() + self.random.uniform(2, 9)
            time.sleep(0.3)

    def once(self):
        i = self.random.randrange(len(self.run.net.nodes))
        kind = self.random.choice(["chain", "cosmovisor", "baton", "enclave"])
        with self.supervisor.lock:
            node, baton = self.run.net.nodes[i], self.run.batons[i]
            if kind in ("chain", "cosmovisor"):
                victims = [node.process.pid] if kind == "cosmovisor" else [p for p in node.process.members() if p != node.process.pid]
            elif kind == "enclave" and baton.enclaves():
                # One of them, or all at once.
                victims = self.random.choice([baton.enclaves(), [self.random.choice(baton.enclaves() or [0])]])
                victims = [p for p in victims if p]
            else:
                # A daemon that is just starting has no enclave yet.
                kind = "baton"
                victims = [baton.process.pid]
            for pid in victims:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if victims:
            self.kills[kind] += 1


def soak(run):
    """Ten upgrades in a row, each to another build, with random kills from the end of the vote on; at the end every vault is readable and every log agrees with the chain."""
    rounds, seed = run.options.rounds, run.options.seed
    run.t.say(f"soak: {rounds} upgrades, seed {seed}")
    if run.with_baton:
        run.tools.in_turn = True
    run.begin(build="b1", following=None, apart=True)
    supervisor = Supervisor(run)
    run.closing.append(supervisor)
    mayhem = Mayhem(run, supervisor, seed)
    supervisor.start()
    plans, written = [], {"first": SECRET}
    for number in range(2, rounds + 2):
        build, old, plan = f"b{number}", f"b{number - 1}", f"upgrade-{number}"
        began = time.monotonic()
        run.publish(build, number)
        for node, baton in zip(run.net.nodes, run.batons):
            run.install_new(node, baton, plan, "testchaind-v1", [*plans, plan])
        plans.append(plan)
        run.deliver(build)
        height = run.upgrade_voted(name=plan, build=build, ahead=AHEAD)
        mayhem.until(f"{build} on every node", lambda: crossed(run, build, height), 400)
        writer = mayhem.random.randrange(len(run.batons))
        name, value = f"round{number}", f"written by {build}"
        # What was killed last may be starting again.
        until("every node and daemon", lambda: all(n.rpc.height() for n in run.net.nodes) and all(b.http("/readyz")[0] == 200 for b in run.batons), 60, 0.5)
        until(f"{name} in the vault", lambda: run._try(lambda: run.batons[writer].vault_put(name, value)), 60, 1)
        written[name] = value
        run.t.check(True, f"upgrade {number - 1} of {rounds}: {build} serves on every node, {old} before it; plan at {height}, {time.monotonic() - began:.0f} s; kills so far: {dict(mayhem.kills)}")
    settled(run, written, f"b{rounds + 1}")
    supervisor.close()
    run.t.check(not supervisor.trouble, "everything that was killed could be started again", supervisor.trouble[:3])
    if run.with_baton:
        run.t.check(mayhem.kills["enclave"] > 0, "enclaves were killed apart from their daemons", dict(mayhem.kills))
        again = sum(b.log.read_text(errors="replace").count("had ended, and runs again") for b in run.batons)
        run.t.check(again > 0, f"daemons started {again} enclaves again")
    run.t.figure("kills", ", ".join(f"{k} {n}" for k, n in sorted(mayhem.kills.items())), f"(seed {seed})")
    run.t.figure("starts by the supervisor", ", ".join(f"{k} {n}" for k, n in sorted(supervisor.starts.items())), "")
    run.audited()


def crossed(run, build, height):
    """Every node is past the height, and the new build serves beside it."""
    if any((node.rpc.height() or 0) < height + 3 for node in run.net.nodes):
        return False
    for baton in run.batons if run.with_baton else ():
        try:
            seat = baton.seat(build)
        except (Refused, OSError, ValueError):
            return False
        if seat.get("state") != "holding" or not seat.get("serving"):
            return False
    return True


def settled(run, written, last):
    """Without further kills: every record is read by the last build on every node, and every older copy goes behind its barrier."""
    run.net.wait_height(run.net.up().rpc.newest() + 12)
    for baton in run.batons if run.with_baton else ():
        for name, value in written.items():
            run.reads(baton, last, f"{name} is read by {last}", value, name)

    def kept():
        return [f"node{b.node.index} {s['build']} {s['state']}" for b in run.batons for s in b.status()["seats"] if s["measurement"] != run.tools.measurement(last) and s["state"] not in ("retired", "empty", "")]

    if run.with_baton:
        try:
            until("every older copy to go", lambda: not kept(), 120, 2)
        except TimeoutError:
            pass
        left = kept()
        run.t.check(not left, f"every copy of a build before {last} is erased", left)
