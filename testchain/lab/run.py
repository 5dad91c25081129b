"""One end-to-end run: the network, the Baton nodes beside it, and the steps that scenarios are made of."""
import json
import pathlib
import shutil
import time

from .baton import BatonNode, NoBaton, Tools
from .network import Network, upgrade_message
from .rpc import until
from .story import Timeline

POWERS = [100, 70, 40, 25]
PLAN = "enclave-v2"
# Blocks from submitting to the plan's height: the voting period and the lead window fit in.
AHEAD = 75


class Run:
    """What a scenario works with. `options`: folder, binaries, cosmovisor, platform, baton, chain_only."""

    def __init__(self, options):
        self.options = options
        self.folder = pathlib.Path(options.folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.t = Timeline(self.folder / "timeline.txt")
        self.cosmovisor = options.cosmovisor
        self.net = None
        self.tools = None if options.chain_only else Tools(options, self.folder)
        self.batons, self.extra = [], []

    # -- beginning and end

    def begin(self, powers=None, joiners=0, settings=None, endpoints=None, **chain):
        """Chain up, Baton nodes up, one secret made, vault written. `settings`: per node, for its baton.toml."""
        powers = powers or POWERS
        began = time.monotonic()
        self.net = self.t.network = Network.create(self.folder / "net", self.options.binaries, powers, joiners=joiners, **chain)
        kind = NoBaton if self.options.chain_only else BatonNode
        self.batons = [kind(self, node, (settings or {}).get(node.index), (endpoints or {}).get(node.index)) for node in self.net.nodes]
        for node, baton in zip(self.net.nodes, self.batons):
            self.prepare_home(node, baton)
            self.start_node(node.index)
        self.net.wait_height(3)
        self.t.say(f"chain {self.net.chain_id}: validators {powers}" + (f" and {joiners} more" if joiners else "")
                   + (", all under cosmovisor" if self.cosmovisor else ", without cosmovisor"))
        self.t.figure("chain up to height 3 after", round(time.monotonic() - began, 1), "s")
        for baton in self.batons:
            baton.begin()
        self.batons[0].genesis()
        for baton in self.batons[1:]:
            baton.join()
        self.batons[0].vault_write("what the old build wrote")

    def finish(self):
        """Stops everything by its pid; returns whether all checks held."""
        for thing in self.extra:
            thing.close()
        for baton in self.batons:
            baton.stop()
        if self.net:
            stopped = self.net.stop()
            self.t.network = None
            self.t.say("stopped: " + ", ".join(stopped))
        return self.t.end()

    # -- nodes

    def prepare_home(self, node, baton):
        """Where the node runs under cosmovisor: both binaries in place, and Baton's script where it is called."""
        if self.cosmovisor:
            node.install(baton.guarded(self.net.binary))
            self.install_new(node, baton)
            script = baton.hook_script()
            if script:
                file = node.home / "cosmovisor/baton-hook"
                file.write_text(script)
                file.chmod(0o755)

    def install_new(self, node, baton, plan=PLAN, binary="testchaind-v2"):
        node.install(baton.guarded(self.net.binaries / binary), plan)

    def start_node(self, index, binary=None, arguments=()):
        """Starts a node as its validator does: under cosmovisor, else bare, with Baton's guard in front."""
        node, baton = self.net.nodes[index], self.batons[index]
        if self.cosmovisor:
            hook = {"COSMOVISOR_CUSTOM_PREUPGRADE": "baton-hook"} if (node.home / "cosmovisor/baton-hook").exists() else {}
            node.start(cosmovisor=hook | baton.environment(), arguments=arguments)
        else:
            node.start(binary=binary, guard=baton.guard(), arguments=arguments)

    def running(self, *indexes):
        """These nodes, or all."""
        return [self.net.nodes[i] for i in indexes] if indexes else self.net.nodes

    # -- the vote

    def info(self, build="v2"):
        """plan.info as a proposal for this build carries it."""
        if self.options.chain_only:
            return json.dumps({"binaries": {}, "enclave": {"mrenclave": ("%02x" % (sum(build.encode()) % 256)) * 32}})
        return self.tools.plan_info(build)

    def propose(self, name=PLAN, build="v2", ahead=AHEAD, height=None, **how):
        """Submits an upgrade; returns (proposal, height)."""
        height = height or self.net.up().rpc.height() + ahead
        proposal = self.net.submit([upgrade_message(name, height, self.info(build))], f"Upgrade {name}", **how)
        self.t.say(f"proposal {proposal}: plan {name} at height {height}, build {build}")
        return proposal, height

    def voted(self, proposal, expected="PASSED", votes=None):
        """Votes, waits for the end, and needs this outcome."""
        self.net.vote(proposal, votes)
        status = self.net.wait_decided(proposal)
        self.t.need(status == expected, f"proposal {proposal} ended {expected}", status)

    def upgrade_voted(self, **how):
        """A passed proposal for the new build; returns its height."""
        proposal, height = self.propose(**how)
        self.voted(proposal)
        plan = self.net.up().rpc.plan()
        self.t.need(plan and plan["height"] == height, "the chain has the plan scheduled", plan)
        return height

    # -- around the height

    def wait_halt(self, height, indexes=None, timeout=180):
        """Until each of these nodes has stopped at `height`: block there, and its log says UPGRADE NEEDED."""
        nodes = self.running(*(indexes or ()))
        words = f'UPGRADE "{PLAN}" NEEDED at height: {height}'
        for node in nodes:
            until(f"node{node.index} to halt at {height}", lambda n=node: words in n.log.read_text(), timeout)
        self.t.say(f"halted at {height}: " + ", ".join(f"node{n.index}" for n in nodes))

    def replace_binaries(self, height, indexes=None, binary="testchaind-v2"):
        """The upgrade by hand at a halt: stop, replace the binary, `baton upgrade`, start."""
        for node in self.running(*(indexes or ())):
            began = time.monotonic()
            node.stop()
            self.batons[node.index].upgrade()
            self.start_node(node.index, self.net.binaries / binary)
            self.t.say(f"node{node.index}: new binary started {time.monotonic() - began:.1f} s after the stop of the old one began")

    def cross(self, height, indexes=None):
        """Carries nodes over the plan's height, the way this run does it, and needs blocks made by the new binary."""
        indexes = list(indexes if indexes is not None else range(len(self.net.nodes)))
        if not self.cosmovisor:
            self.wait_halt(height, indexes)
            self.replace_binaries(height, indexes)
        self.net.wait_height(height + 3, indexes, timeout=180)
        self.t.check(self.net.nodes[indexes[0]].rpc.applied(PLAN, height), f"the chain ran the plan at {height} and goes on")
        if self.cosmovisor:
            for i in indexes:
                self.t.check(self.net.nodes[i].current() == PLAN, f"cosmovisor of node{i} runs the new binary", self.net.nodes[i].current())

    def downtime(self, height, node):
        """Seconds between the times in the headers before and after the upgrade's block, as the chain itself saw them."""
        def at(h):
            return _seconds(node.rpc.call("commit", height=h)["signed_header"]["header"]["time"])
        self.t.figure("from the block at the plan's height to the next", round(at(height + 1) - at(height), 2), "s")

    def clean(self):
        """Removes what a run that held leaves behind; logs stay."""
        for node in self.net.nodes if self.net else []:
            shutil.rmtree(node.home / "data", ignore_errors=True)
            shutil.rmtree(node.home / "cosmovisor", ignore_errors=True)


def _seconds(text):
    """A header's time, in seconds since 1970."""
    import calendar
    whole, _, part = text.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{part or 0}")
