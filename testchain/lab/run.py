"""One end-to-end run: the network, the Baton nodes beside it, and the steps that scenarios are made of."""
import calendar
import json
import pathlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from . import audit
from .baton import GRACE_BLOCKS, PLATFORMS, BatonNode, Refused, Tools, call
from .glass import Glass
from .network import Network, free_ports, upgrade_message
from .rpc import Rpc, until
from .story import Timeline

POWERS = [100, 70, 40, 25]
PLAN = "enclave-v2"
# Blocks from submitting to the plan's height: the voting period and the lead window fit in.
AHEAD = 85
SECRET = "what the old build wrote"


class Watch(threading.Thread):
    """Asks every node's RPC all the time: when the process that stood at a height stopped to answer, and when the next block was there."""

    def __init__(self, nodes, height):
        super().__init__(daemon=True)
        self.nodes, self.height, self.over = [Rpc(n.rpc_port, timeout=1) for n in nodes], height, threading.Event()
        self.gone, self.back = [None] * len(nodes), [None] * len(nodes)
        self.start()

    def run(self):
        near = [False] * len(self.nodes)
        while not self.over.wait(0.05):
            for i, rpc in enumerate(self.nodes):
                height, now = rpc.height(), time.monotonic()
                near[i] |= (height or 0) >= self.height - 1
                if height is None and near[i] and not self.back[i]:
                    self.gone[i] = self.gone[i] or now
                elif self.gone[i] and height and height > self.height:
                    self.back[i] = self.back[i] or now

    def close(self):
        self.over.set()
        self.join(10)
        return list(zip(self.gone, self.back))


class NoBaton:
    """Stands where Baton stands when the chain's side is run alone: does nothing, and what cosmovisor asks says yes or no as told."""

    def __init__(self, node):
        self.node = node
        self.answer = node.home / "hook.answer"
        self.answer.write_text("0")

    def __getattr__(self, name):
        return lambda *_, **__: None

    def guard(self, _plan):
        return []

    def guarded(self, _plan, binary, plans=()):
        return f'#!/bin/sh\nexport TESTCHAIN_PLANS="{",".join(plans)}"\nexec "{binary}" "$@"\n' if plans else None

    def hook(self, limit=0):
        return f'#!/bin/sh\nexit "$(cat "{self.answer}")"\n'


class Run:
    """What a scenario works with. `options`: folder, binaries, cosmovisor, chain_only; platform, program, baton."""

    def __init__(self, options):
        self.options = options
        self.folder = pathlib.Path(options.folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.t = Timeline(self.folder / "timeline.txt")
        self.cosmovisor, self.with_baton = options.cosmovisor, not options.chain_only
        self.net, self.batons, self.closing, self.glass = None, [], [], None
        self.tools = Tools(options, self.folder) if self.with_baton else None

    # -- beginning and end

    def begin(self, *, joiners=0, strangers=0, hook_limit=120, endpoints=None, signers=None, powers=None, glass=False, build="v1", following="v2", advance=None, apart=False, **chain):
        """Chain up, Baton nodes up, one secret made, vault written, and the next build published.

        `endpoints`: {node: list of URLs} where a node's daemon asks others than its own node; a function of the network.
        `signers`: {node: key} that sends its records, "keyfile" for a key file instead of the chain's command, None for no key at all.
        `apart`: each enclave in a process of its own, which can be killed alone.
        `advance`: how many blocks behind an enclave's trusted head may follow.
        `build`: name of the genesis build; `following`: of the next one, which is published at once, or None.
        `glass`: policies name a council and witnesses, and these exist.
        `strangers`: how many of the joiners, counted from the last, nobody vouches for; they do not join either.
        """
        powers = powers or POWERS
        began = time.monotonic()
        self.net = self.t.network = Network.create(self.folder / "net", self.options.binaries, powers, joiners=joiners, **chain)
        nodes = self.net.nodes
        if self.with_baton:
            self.batons = [BatonNode(self, n, None) for n in nodes]
        else:
            self.batons = [NoBaton(n) for n in nodes]
        for node, baton in zip(nodes, self.batons):
            self._install(node, baton, hook_limit)
            self.start_node(node.index)
        self.net.wait_height(3)
        self.t.say(f"chain {self.net.chain_id}: validators of power {powers}" + (f", {joiners} more nodes" if joiners else "")
                   + (", all under cosmovisor" if self.cosmovisor else ", without cosmovisor"))
        self.t.figure("chain made and at height 3 after", round(time.monotonic() - began, 1), "s")
        if self.with_baton:
            if glass:
                self.glass = Glass(self)
                self.tools.more = self.glass.policy()
            self._begin_baton((endpoints or (lambda _: {}))(self.net), signers or {}, strangers, build, following, advance, apart)

    def _begin_baton(self, endpoints, signers, strangers, build, following, advance, apart):
        ports = free_ports(len(self.batons))
        self.tools.build(build, self.tools.policy(self.net, build), 1)
        for baton, port in zip(self.batons, ports):
            baton.port = port
            baton.endpoints = endpoints.get(baton.node.index, baton.endpoints)
            baton.signer, baton.advance = signers.get(baton.node.index, "val"), advance
            baton.apart = apart
        for baton in self.batons:
            baton.init([b.url for b in self.batons if b is not baton])
            baton.install(build)
            baton.start()
        self.t.say(f"{len(self.batons)} Baton nodes of build {build}, measurement {self.tools.measurement(build)[:16]}…")
        known = self.batons[:len(self.batons) - strangers]
        if self.tools.admission == "vouched":
            self.vouch(known)
        self.commitment = self.batons[0].genesis()["commitment"]
        self.t.say(f"genesis on node0: one secret, commitment {self.commitment[:16]}…")
        joins = []
        for baton in known[1:]:
            began = time.monotonic()
            baton.join(self.batons[0].url)
            joins.append(time.monotonic() - began)
            self.t.say(f"node{baton.node.index} joined")
        self.joined(joins)
        if following:
            self.publish(following)
        self.batons[0].vault_put("first", SECRET)
        for baton in known:
            self.reads(baton, build, f"the vault is read by {build}" if build != "v1" else "the vault is read by the old build")

    def joined(self, joins):
        """How long joins over HTTP took: the whole command, a block for the record in it, and from the offer to the receipt, as the giver's log dates them."""
        if joins:
            self.t.figure("a join over HTTP between two nodes, the record's block in it", f"{min(joins):.2f} to {max(joins):.2f}", "s")
        dates = {"offered": [], "durably": []}
        for line in self.batons[0].log.read_text(errors="replace").splitlines():
            for word, found in dates.items():
                if word in line and 'step="join"' in line:
                    clock = line.split("T", 1)[1].split("Z", 1)[0].split(":")
                    found.append(int(clock[0]) * 3600 + int(clock[1]) * 60 + float(clock[2]))
        took = [round((b - a) * 1000) for a, b in zip(dates["offered"], dates["durably"])]
        if took:
            self.t.figure("of that from the offer to the receipt", f"{min(took)} to {max(took)}", "ms")

    def vouch(self, batons):
        """Each validator answers for its own machine, and the first one for those of nodes that are no validators."""
        validators = self.net.nodes[:len(self.net.powers)]
        own = [b for b in batons if b.node in validators]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda b: b.vouched_by(b.node), own))
        for baton in batons[len(own):]:
            baton.vouched_by(validators[0])
        for baton in batons:
            shown = self._try(lambda b=baton: b.call("platform", "show"))
            self.t.check(shown and any(v["counts"] for v in shown["vouched_by"]), f"node{baton.node.index}: a bonded validator answers for its machine", shown)

    def finish(self):
        """Stops everything by its pid; returns whether all checks held."""
        for thing in self.closing:
            thing.close()
        if self.net:
            self.t.network = None
            self.t.say("stopped: " + ", ".join(self.net.stop()))
        return self.t.end()

    # -- builds and nodes

    def publish(self, name, svn=2, like=None):
        """Developers publish a build: a policy that knows the secret's commitment, an image, a signature.

        `like`: of a build whose policy it has but for one block of grace, so that it is another build also where the program is the same; no chain is asked.
        """
        if self.with_baton:
            if like:
                policy = self.tools.folder / f"{name}.policy.toml"
                known = (self.tools.folder / f"{like}.policy.toml").read_text()
                policy.write_text(known.replace(f"grace_blocks = {GRACE_BLOCKS}\n", f"grace_blocks = {GRACE_BLOCKS + 1}\n"))
            else:
                policy = self.tools.policy(self.net, name, self.commitment)
            self.tools.build(name, policy, svn)
            self.t.say(f"build {name} is published, measurement {self.tools.measurement(name)[:16]}…")

    def deliver(self, name="v2", nodes=None):
        """Operators put a build into their Baton nodes' folders."""
        for i in self.all(nodes):
            self.batons[i].install(name)

    def all(self, nodes=None):
        return list(range(len(self.net.nodes))) if nodes is None else list(nodes)

    def _install(self, node, baton, hook_limit):
        if not self.cosmovisor:
            return
        node.install(self.net.binary)
        self.install_new(node, baton)
        script = node.home / "cosmovisor/baton-hook"
        script.write_text(baton.hook(hook_limit))
        script.chmod(0o755)

    def install_new(self, node, baton, plan=PLAN, binary="testchaind-v2", plans=()):
        """Puts a plan's binary where cosmovisor looks, with Baton's guard in front of its `start`. `plans`: what it applies beside its own."""
        real = self.net.binaries / binary
        target = node.install(real, plan)
        script = baton.guarded(plan, real, plans)
        if script:
            target.unlink()
            target.write_text(script)
            target.chmod(0o755)

    def start_node(self, index, binary=None, arguments=()):
        """Starts a node as its validator does: under cosmovisor, or bare. A binary that is not the first one gets the guard in front."""
        node, baton = self.net.nodes[index], self.batons[index]
        if self.cosmovisor:
            node.start(cosmovisor={"COSMOVISOR_CUSTOM_PREUPGRADE": "baton-hook"}, arguments=arguments)
        else:
            node.start(binary=binary, guard=baton.guard(PLAN) if binary else (), arguments=arguments)

    def supervise(self, nodes, height, tries=12, timeout=300):
        """What a supervisor does: starts cosmovisor again whenever it ended, until each node has a block of this height."""
        def once(i):
            node = self.net.nodes[i]
            if (node.rpc.height() or 0) >= height:
                return True
            if not (node.process and node.process.alive()):
                if starts[i] == tries:
                    raise RuntimeError(f"cosmovisor of node{i} ended {tries} times: {node.last_words()}")
                node.stop()
                self.start_node(i)
                starts[i] += 1
            return False

        starts = {i: 0 for i in nodes}
        until(f"height {height} after restarts by supervisors", lambda: all([once(i) for i in nodes]), timeout, 0.5)
        self.t.say("starts by supervisors: " + ", ".join(f"node{i} {n}" for i, n in starts.items()))

    # -- the vote

    def info(self, build="v2"):
        """plan.info as a proposal for this build carries it."""
        if self.with_baton:
            return self.tools.plan_info(build)
        return json.dumps({"binaries": {}, "enclave": {"mrenclave": build.encode().hex().ljust(64, "0")}})

    def propose(self, name=PLAN, build="v2", ahead=AHEAD, height=None, **how):
        """Submits an upgrade; returns (proposal, height)."""
        height = height or self.net.up().rpc.newest() + ahead
        proposal = self.net.submit([upgrade_message(name, height, self.info(build))], f"Upgrade {name}", **how)
        self.t.say(f"proposal {proposal}: plan {name} at height {height}, build {build}")
        return proposal, height

    def voted(self, proposal, expected="PASSED", votes=None):
        """Votes, waits for the end, and needs this outcome."""
        self.net.vote(proposal, votes)
        status = self.net.wait_decided(proposal)
        self.t.need(status == expected, f"proposal {proposal} ended {expected}", status)

    def upgrade_voted(self, votes=None, **how):
        """A passed proposal for a build; returns the plan's height."""
        proposal, height = self.propose(**how)
        self.voted(proposal, votes=votes)
        plan = self.net.up().rpc.plan()
        self.t.need(plan and plan["height"] == height, "the chain has the plan scheduled", plan)
        return height

    # -- around the height

    def handed_over(self, build="v2", nodes=None, timeout=240):
        """Until the new build holds the secret durably beside the old one, on each of these nodes."""
        if self.with_baton:
            for i in self.all(nodes):
                seat = self.batons[i].wait_seat(build, lambda s: s["state"] not in ("empty",), "a handover", timeout)
                old = self.batons[i].wait_seat("v1", lambda s: s["state"] in ("confirmed", "retired"), "a receipt", timeout)
                self.t.say(f"node{i}: {build} is {seat['state']}, v1 is {old['state']}")

    def wait_halt(self, height, nodes=None, timeout=180):
        """Until each of these nodes has stopped at `height` and its log says why."""
        words = f'UPGRADE "{PLAN}" NEEDED at height: {height}'
        for i in self.all(nodes):
            until(f"node{i} to halt at {height}", lambda n=self.net.nodes[i]: words in n.log.read_text(errors="replace"), timeout)
        self.t.say(f"the old binary halted at {height} on " + ", ".join(f"node{i}" for i in self.all(nodes)))

    def wait_held(self, nodes=None, timeout=180):
        """Until cosmovisor of each of these nodes has given up, because the custom script held the upgrade."""
        for i in self.all(nodes):
            until(f"cosmovisor of node{i} to end", lambda n=self.net.nodes[i]: not n.process.alive(), timeout)
            node = self.net.nodes[i]
            self.t.check(node.process.code != 0 and node.current() == "genesis",
                         f"the custom script held the upgrade on node{i}: cosmovisor ended {node.process.code}, the old binary is current", node.current())

    def replace_binaries(self, nodes=None, binary="testchaind-v2"):
        """The upgrade by hand at a halt: stop, replace the binary, `baton upgrade`, start."""
        for i in self.all(nodes):
            node, began = self.net.nodes[i], time.monotonic()
            node.stop()
            self.batons[i].upgrade(PLAN, wait=60)
            self.start_node(i, self.net.binaries / binary)
            by_baton = "`baton upgrade`, " if self.with_baton else ""
            self.t.say(f"node{i}: stopped, {by_baton}new binary started; {time.monotonic() - began:.1f} s")

    def cross(self, height, nodes=None):
        """Carries nodes over the plan's height, the way this run does it, and needs blocks made by the new binary."""
        nodes = self.all(nodes)
        if not self.cosmovisor:
            self.wait_halt(height, nodes)
            self.replace_binaries(nodes)
        self.net.wait_height(height + 3, nodes, timeout=180)
        self.crossed(height, nodes)

    def crossed(self, height, nodes=None):
        """The chain ran the plan, and each of these nodes runs the new binary."""
        nodes = self.all(nodes)
        self.t.check(self.net.nodes[nodes[0]].rpc.applied(PLAN, height), f"the chain ran the plan at {height} and goes on")
        for i in nodes if self.cosmovisor else ():
            self.t.check(self.net.nodes[i].current() == PLAN, f"cosmovisor of node{i} runs the new binary", self.net.nodes[i].current())

    def downtimes(self, watch):
        """How long each node was away at the height."""
        took = [round(back - gone, 1) for gone, back in watch.close() if gone and back]
        self.t.figure("one node's downtime, from its old process's stop to the new one's first block", f"{min(took)} to {max(took)}" if took else "not seen", f"s, {len(took)} nodes")

    def halt_time(self, height):
        """How long the chain stood still. A header carries the time of the votes on the block below it."""
        def at(h):
            text = self.net.up().rpc.call("commit", height=h)["signed_header"]["header"]["time"]
            whole, _, part = text.rstrip("Z").partition(".")
            return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{part or 0}")
        self.t.figure("from the votes on the block at the plan's height to those on the next", round(at(height + 2) - at(height + 1), 2), "s")

    # -- what must hold at the end

    def reads(self, baton, build, text, value=SECRET, name="first"):
        """A record of the vault is read on this node, by this build (None: whichever serves)."""
        if self.with_baton:
            last = {}

            def read():
                found = self._try(lambda: baton.vault_get(name))
                last.update(found or {})
                return found and found["value"] == value and (build is None or found["build"] == self.tools.measurement(build))

            try:
                until("the vault's record", read, 60, 1)
                return self.t.check(True, f"node{baton.node.index}: {text}")
            except TimeoutError:
                return self.t.check(False, f"node{baton.node.index}: {text}", last or "nothing is read")

    @staticmethod
    def _try(ask):
        try:
            return ask()
        except Refused:
            return None

    def state(self, node, build, states, text, timeout=60):
        """The enclave of a build on a node comes into one of these states."""
        if self.with_baton:
            try:
                self.batons[node].wait_seat(build, lambda s: s["state"] in states, "/".join(states), timeout)
                self.t.check(True, f"node{node}: {text}")
            except TimeoutError:
                self.t.check(False, f"node{node}: {text}", self.batons[node].seat(build).get("state"))

    def settled(self, nodes=None, erased=True):
        """The new build serves, receipts are in, and the old copies are erased behind the barrier."""
        if not self.with_baton:
            return
        for i in self.all(nodes):
            self.reads(self.batons[i], "v2", "the vault is read by the new build")
        if erased:
            self.t.say(f"barrier: {PLATFORMS} platforms, {GRACE_BLOCKS} blocks of grace")
            for i in self.all(nodes):
                self.state(i, "v1", ("retired",), "the old copy is erased", 120)
        self.audited()

    def recorded(self):
        """The evidence of this vote as a file that `baton evidence verify` judges without any chain."""
        for baton in self.batons[:1] if self.with_baton else ():
            file = self.folder / "evidence.json"
            baton.call("evidence", "record", "--plan", PLAN, "--out", file)
            self.t.figure("evidence of the vote, as JSON", round(file.stat().st_size / 1024), "KiB")
            try:
                verdict = call(baton.binary, "evidence", "verify", file)
                self.t.check(self.tools.measurement("v2") in json.dumps(verdict), "the recorded evidence shows by itself that the vote named this build")
            except Refused as error:
                self.t.check(False, "the recorded evidence verifies by itself", error)

    def audited(self):
        """The chain's records and all nodes' logs say the same, to `baton audit` and to a second reader: no copy that nobody announced."""
        if not self.with_baton:
            return
        shown, folders = {}, []
        for baton in self.batons:
            name, folder = f"node{baton.node.index}", baton.home / "seats"
            if not any(folder.glob("*/log/entries.txt")):
                held = [s["state"] for s in baton.status()["seats"] if s["state"] not in ("empty", "")]
                self.t.check(not held, f"{name}: its enclaves never held anything, and have no log", held)
                continue
            try:
                answer = call(baton.binary, "log", "verify", folder)
                self.t.check(bool(answer), f"{name}: its custody logs verify")
                shown[name] = call(baton.binary, "log", "show", folder)
                folders.append(folder)
            except Refused as error:
                self.t.check(False, f"{name}: its custody logs verify", error)
        made = audit.copies(shown)
        rpc = self.net.up().rpc

        def compared():
            height = rpc.height()
            found = audit.records(rpc, 1, height)
            try:
                told = call(self.tools.binary, "audit", *folders, "--rpc", rpc.url, "--to", height)
            except Refused as refused:
                told = refused.answer or {"accept": False, "mismatches": [refused.words]}
            return found, told, *audit.compare(found, made)

        try:
            # Records of handovers at X come when the chain lives again.
            until("all records", lambda: (lambda c: not any(c[2:4]) and c[1]["accept"])(compared()), 45, 2)
        except TimeoutError:
            pass
        found, told, missing, owed, others = compared()
        at_x = sum(1 for copy in made if not copy.record)
        self.t.say(f"audit: {len(found)} records on the chain; {len(made)} handovers in logs, {at_x} of them at X")
        self.t.check(told["accept"], "baton audit: all nodes' logs and the chain's records agree", told["mismatches"][:3])
        counted = {"records": len(found), "copies": len(made)}
        self.t.check({k: told.get(k) for k in counted} == counted, f"baton audit counts what the second reader counts: {counted}", {k: told.get(k) for k in counted})
        self.t.check(not missing, "every record that a log names is on the chain", missing[:3])
        self.t.check(not owed, "every handover at X was followed by its record", owed[:3])
        if others:
            self.t.say(f"audit: {len(others)} transfers were announced and not made, at heights {[r.height for r in others]}")

    @staticmethod
    def log_entries(baton):
        """Every entry of a node's custody logs, as text."""
        return [json.dumps(entry) for log in call(baton.binary, "log", "show", baton.home / "seats")["logs"] for entry in log["entries"]]

    def scraped(self, stage, plan=None, builds=None, confirmed=None, barrier=None, receipts=None):
        """Status, /v1/status and /metrics of each node say the same, and what the chain and the story know.

        `plan`: the pending plan as the chain's RPC shows it. `builds`: {build: its state of custody, or several that may be}, and * at the one that serves.
        `confirmed`: whether the handover to the plan's build is. `barrier`: how many receipts are wanted, `receipts`: how many are there at least.
        """
        for baton in self.batons if self.with_baton else ():
            wrong = []
            try:
                # A daemon looks twice a second.
                until("the metrics", lambda: not wrong.clear() and not self._apart(baton, wrong, plan, builds, confirmed, barrier, receipts), 60 if builds else 5, 0.5)
            except TimeoutError:
                pass
            states = ", ".join(f"{s['build']} {s['state']}" for s in baton.status()["seats"])
            more = f", plan at {plan['height']}" if plan else ", no plan" if builds else ""
            self.t.check(not wrong, f"node{baton.node.index} {stage}: status, /v1/status, /metrics, /readyz agree with each other, the chain and the story: {states}{more}", wrong)

    def _apart(self, baton, wrong, plan, builds, confirmed, barrier, receipts):
        """Collects what is told differently; gives that list."""
        status, metrics = baton.status(), baton.metrics()
        if baton.http("/healthz")[0] != 200:
            wrong.append("/healthz is not 200")
        holds = any(s["state"] not in ("empty", "retired") for s in status["seats"])
        if (baton.http("/readyz")[0] == 200) != holds:
            wrong.append(f"/readyz is {baton.http('/readyz')}, while a keyring is {'' if holds else 'not '}held")
        told = json.loads(baton.http("/v1/status")[1] or "{}")
        if [s["state"] for s in told.get("seats", [])] != [s["state"] for s in status["seats"]]:
            wrong.append(f"/v1/status shows {told.get('seats')}")

        def number(name, **labels):
            found = [v for (metric, l), v in metrics.items() if metric == f"baton_{name}" and labels.items() <= dict(l).items()]
            return found[0] if len(found) == 1 else found or None

        def expect(name, want, **labels):
            got = number(name, **labels)
            if got != want:
                wrong.append(f"{name}{labels or ''} is {got}, expected {want}")

        expect("chain_seen", 1)
        chain = self.net.up().rpc.height()
        if abs(chain - (number("chain_height") or -10)) > 4:
            wrong.append(f"chain_height is {number('chain_height')}, the chain is at {chain}")
        for seat in status["seats"]:
            for state in ("empty", "received", "holding", "offered", "confirmed", "retired"):
                expect("custody", int(state == seat["state"]), measurement=seat["measurement"], state=state)
            expect("serving", int(seat["serving"]), measurement=seat["measurement"])
        if builds is None:
            return wrong
        expect("plan_height", plan["height"] if plan else 0)
        expect("plan_build_present", int(bool(plan) and any(s["measurement"] in plan["info"] for s in status["seats"])))
        expect("records_owed", 0)
        for peer in self.batons:
            if peer is not baton:
                expect("peer_up", 1, peer=peer.url)
        if confirmed is not None:
            expect("plan_confirmed", int(confirmed))
        for build, states in builds.items():
            measurement, serves = self.tools.measurement(build), "*" in states
            shown = [s for s in ("empty", "received", "holding", "offered", "confirmed", "retired") if number("custody", measurement=measurement, state=s) == 1]
            if shown != [states.rstrip("*")]:
                wrong.append(f"custody of {build} is {shown}, expected {states.rstrip('*')}")
            expect("serving", int(serves), measurement=measurement)
        if barrier is not None:
            expect("barrier_receipts_wanted", barrier)
        if receipts is not None:
            got = number("barrier_receipts")
            if not isinstance(got, float) or got < receipts:
                wrong.append(f"barrier_receipts is {got}, expected {receipts} at least")
        return wrong
