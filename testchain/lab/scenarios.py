"""What an end-to-end run plays: the upgrade that goes well, and one story for each trouble."""
import os
import pathlib
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from . import audit
from .baton import Refused, call
from .ceremony import ceremony
from .emergencies import break_at_x1, emergency, order, rewind, snapshot
from .liar import Liar
from .network import DENOM, TOKENS_PER_POWER, cancel_message, free_ports
from .rpc import DOWN, Rpc, until
from .run import AHEAD, PLAN, PLATFORMS, Watch
from .operators import operator
from .soak import soak


def success(run):
    """The upgrade as it should go: vote, handover in the lead window, height, switch, receipts, barrier, erased copies."""
    run.begin()
    run.scraped("before the vote", builds={"v1": "holding*"}, barrier=0)
    run.deliver()
    height = run.upgrade_voted()
    plan = run.net.up().rpc.plan()
    run.scraped("with the plan scheduled", plan, {"v1": "holding*", "v2": "empty"}, confirmed=False, barrier=0)
    run.handed_over()
    run.scraped("after the handover", plan, {"v1": "confirmed*", "v2": "received"}, confirmed=True, barrier=PLATFORMS, receipts=0)
    watch = Watch(run.net.nodes, height)
    run.cross(height)
    run.downtimes(watch)
    run.halt_time(height)
    run.scraped("after the activation", None, {"v2": "holding*"}, confirmed=False)
    run.settled()
    run.recorded()
    run.scraped("after the erasure", None, {"v1": "retired", "v2": "holding*"}, barrier=0)


def no_one_prepared(run):
    """Nobody had the new build before the height: the chain halts, each machine hands over at X, the chain goes on, records follow."""
    run.begin(hook_limit=10)
    if not run.with_baton:
        for baton in run.batons:
            baton.answer.write_text("1")
    height = run.upgrade_voted()
    if run.cosmovisor:
        run.wait_held()
    else:
        run.wait_halt(height)
        if run.with_baton:
            for node, baton in zip(run.net.nodes, run.batons):
                node.stop()
                try:
                    baton.upgrade(PLAN)
                    run.t.check(False, f"node{node.index}: baton upgrade refuses without the build")
                except Refused as refused:
                    run.t.check(refused.code != 0, f"node{node.index}: baton upgrade refuses without the build: {refused.words[:200]}")
    run.deliver()
    if run.cosmovisor:
        for i, baton in enumerate(run.batons):
            run.net.nodes[i].stop()
            if run.with_baton:
                baton.upgrade(PLAN, wait=60)
                run.t.say(f"node{i}: handed over at X by hand, with the chain's node down")
            else:
                baton.answer.write_text("0")
        run.supervise(run.all(), height + 3)
    else:
        run.replace_binaries()
    run.net.wait_height(height + 3)
    run.crossed(height)
    run.halt_time(height)
    run.settled()


def late(run, helped=True):
    """One node is away from before the vote until hundreds of blocks after the upgrade; with all peers' help, or with none."""
    # Without peers there must be some node of the chain to ask: the late node's own dies at the height.
    run.begin(endpoints=None if helped else lambda net: {net.nodes[-1].index: [net.nodes[-1].rpc.url, net.nodes[0].rpc.url]})
    away = len(run.net.nodes) - 1
    run.net.nodes[away].stop()
    run.batons[away].stop()
    run.t.say(f"node{away} goes away")
    others = [i for i in run.all() if i != away]
    run.deliver(nodes=others)
    height = run.upgrade_voted(votes={i: "yes" for i in others})
    run.handed_over(nodes=others)
    run.cross(height, others)
    run.net.wait_height(height + run.options.late_blocks, others, timeout=400)
    if not helped:
        for i in others:
            run.batons[i].stop()
        if run.with_baton:
            run.t.say("no peer's Baton answers any more; the chain's own nodes do")
    run.batons[away].start()
    run.deliver(nodes=[away])
    run.start_node(away)
    run.t.say(f"node{away} comes back, {run.options.late_blocks} blocks late")
    if run.cosmovisor:
        run.supervise([away], height + run.options.late_blocks)
    else:
        run.wait_halt(height, [away])
        run.replace_binaries([away])
    run.net.wait_height(height + run.options.late_blocks, [away], timeout=300)
    run.crossed(height, [away])
    if run.with_baton:
        run.reads(run.batons[away], "v2", "the vault is read by the late node's new build")
    if not helped:
        for i in others:
            run.batons[i].start()
    run.settled()


def late_alone(run):
    """As `late`, and no peer helps."""
    late(run, helped=False)


def cancelled(run):
    """A proposal passes, nodes hand over, and a second vote cancels the plan: the height passes, nothing changes hands."""
    run.begin()
    run.deliver()
    proposal, height = run.propose(ahead=AHEAD + 45)
    run.voted(proposal)
    second = run.net.submit([cancel_message()], "Cancel the upgrade", by=1)
    run.voted(second)
    run.t.check(run.net.up().rpc.plan() is None, "the chain has no plan any more")
    run.t.check(run.net.up().rpc.proposal_status(proposal) == "PASSED", "the cancelled proposal still reads PASSED")
    run.net.wait_height(height + 3)
    run.t.check(not run.net.up().rpc.applied(PLAN, height), f"the chain went past {height} and ran no plan")
    for i in run.all():
        run.state(i, "v1", ("holding",), "the old build holds, as before")
        run.state(i, "v2", ("", "empty", "retired"), "the new build holds nothing")
        run.reads(run.batons[i], "v1", "the vault is read by the old build")
    # The handovers of the cancelled plan were made, with their records; that they are void changes neither.
    run.audited()


def overwritten(run):
    """A plan is overwritten by one of the same name and height for another build; then a node comes late."""
    run.begin()
    run.publish("v2b", 3)
    away = len(run.net.nodes) - 1
    others = [i for i in run.all() if i != away]
    run.net.nodes[away].stop()
    run.batons[away].stop()
    run.deliver("v2", others)
    run.deliver("v2b", others)
    everyone = {i: "yes" for i in others}
    first, height = run.propose(build="v2", ahead=AHEAD + 45)
    run.voted(first, votes=everyone)
    second, _ = run.propose(build="v2b", height=height, by=1)
    run.voted(second, votes=everyone)
    plan = run.net.up().rpc.plan()
    run.t.need(plan and plan["info"] == run.info("v2b"), "the second plan has overwritten the first", plan)
    run.t.check(run.net.up().rpc.proposal_status(first) == "PASSED", "the overwritten proposal still reads PASSED")
    run.handed_over("v2b", others)
    run.cross(height, others)
    run.net.wait_height(height + 20, others)
    run.batons[away].start()
    run.deliver("v2", [away])
    run.deliver("v2b", [away])
    run.start_node(away)
    if run.cosmovisor:
        run.supervise([away], height + 20)
    else:
        run.wait_halt(height, [away])
        run.replace_binaries([away])
    run.net.wait_height(height + 20, [away], timeout=200)
    for i in run.all():
        run.state(i, "v2", ("", "empty"), "the build of the overwritten plan holds nothing")
        if run.with_baton:
            run.reads(run.batons[i], "v2b", "the vault is read by the build that the chain ran")
    # Handovers of both plans where the nodes were quick, and one at X, of the node that came late.
    run.audited()


def lost_votes(run):
    """A REJECTED and a FAILED proposal: no plan, no handover, and the height passes."""
    run.begin()
    run.deliver()
    rejected, height = run.propose()
    run.voted(rejected, "REJECTED", {0: "no", 1: "no", 2: "yes", 3: "yes"})
    vetoed, _ = run.propose(height=height + 30, by=1)
    run.voted(vetoed, "REJECTED", {0: "no_with_veto", 1: "yes", 2: "yes", 3: "yes"})
    # Its height is past by the time it is decided, so its message fails.
    failed, _ = run.propose(ahead=5, by=2)
    run.voted(failed, "FAILED")
    run.t.check(run.net.up().rpc.plan() is None, "the chain has no plan")
    run.net.wait_height(height + 3)
    for i in run.all():
        run.state(i, "v1", ("holding",), "the old build holds, as before")
        run.state(i, "v2", ("", "empty"), "the new build holds nothing")
    # Nothing but the joins.
    run.audited()


def skipped(run):
    """At the height more than two thirds tell the old binary to skip the upgrade: the new build's copies are void, the old build goes on."""
    run.begin()
    run.deliver()
    height = run.upgrade_voted()
    run.handed_over()
    skip = ["--unsafe-skip-upgrades", str(height)]
    if run.cosmovisor:
        # Operators agree before the height and restart with the flag: cosmovisor honours it too.
        for i in run.all():
            run.net.nodes[i].stop()
            run.start_node(i, arguments=skip)
        run.t.say(f"all restarted with {' '.join(skip)}")
    else:
        run.wait_halt(height)
        for i in run.all():
            run.net.nodes[i].stop()
            run.start_node(i, arguments=skip)
    run.net.wait_height(height + 3, timeout=180)
    rpc = run.net.up().rpc
    run.t.check(rpc.plan() is None and not rpc.applied(PLAN, height), f"the chain skipped the plan at {height}: no plan, no done key")
    for i in run.all():
        run.t.check(run.net.nodes[i].current() == "genesis", f"node{i} still runs the old binary")
        run.state(i, "v2", ("", "empty", "retired"), "the new build's copy is void")
        run.state(i, "v1", ("holding",), "the old build holds again")
        run.reads(run.batons[i], "v1", "the vault is read by the old build")
    # As after a cancellation: made, recorded, void.
    run.audited()


def broken(run):
    """The new binary panics at X+1; operators go back by the chain's own `rollback`, and skip the upgrade."""
    run.begin()
    height = break_at_x1(run)
    roll_back(run, height)
    run.net.wait_height(height + 5, timeout=180)
    rpc = run.net.up().rpc
    run.t.check(rpc.plan() is None and not rpc.applied(PLAN, height), f"after the rollback the chain skipped {height} and goes on with the old binary")
    # Whether a daemon had already followed block X+1, whose header showed the done key, decides which build keeps the keyring.
    for i in run.all():
        run.reads(run.batons[i], None, "nothing is lost: the vault is read")
        if run.with_baton:
            run.t.say(f"node{i}: " + ", ".join(f"{s['build']} is {s['state']}" for s in run.batons[i].status()["seats"]))
    # The rollback gives up block X+1 alone: every record lies below, and logs do not go back with the chain.
    run.audited()


def roll_back(run, height):
    """Each operator: stop, drop block X+1 and the state of X, go back to the old binary with the plan's height skipped."""
    broken_binary = run.net.binaries / "testchaind-v2-broken"
    for node in run.net.nodes:
        node.stop()
        # Block X+1 was stored and never applied: `--hard` removes it. Then the state of X goes, its block stays.
        for flags in (["--hard"], []):
            said = node.run("rollback", *flags, binary=broken_binary).stdout.strip()
            run.t.say(f"node{node.index}: rollback {' '.join(flags)}: {said.splitlines()[-1] if said else 'nothing said'}")
        (node.home / "data/upgrade-info.json").unlink(missing_ok=True)
        node.forget_votes()
        if run.cosmovisor:
            (node.home / "cosmovisor/current").unlink(missing_ok=True)
    for node in run.net.nodes:
        run.start_node(node.index, arguments=["--unsafe-skip-upgrades", str(height)])


# What each lie leaves in the status of who is lied to: silence, absence and a dropped transaction prove nothing.
NAMED = {"flip": True, "old": True, "shift": True, "error": False, "pruned": False, "hang": False, "swallow": False}
# Node: how its endpoint lies during the handover and over the height.
AT_THE_HANDOVER = {1: "swallow", 2: "flip", 3: "hang"}


def lying_endpoint(run):
    """Endpoints that lie, in every way in turn and in three ways at once during the handover, each beside an honest one: they are named where they prove it, and Baton gets through."""
    liars = {}

    def endpoints(net):
        for i in AT_THE_HANDOVER:
            liars[i] = Liar(net.nodes[i], free_ports(1)[0], "honest")
            run.closing.append(liars[i])
        return {i: [liar.url, net.nodes[i].rpc.url] for i, liar in liars.items()}

    # What a liar swallows must be a transaction that Baton itself broadcasts.
    run.begin(endpoints=endpoints, signers={1: "keyfile"})
    if not run.with_baton:
        endpoints(run.net)
    liar = liars[1]
    run.deliver()
    height = run.upgrade_voted(ahead=AHEAD + 110)
    for mode in NAMED:
        # A daemon that starts has no favourite yet: it asks the first endpoint first.
        run.batons[1].stop()
        liar.set(mode)
        liar.told.clear()
        at = run.net.up().rpc.height()
        run.batons[1].start()
        run.net.wait_height(at + 4)
        run.t.check(lies(liar), f"the endpoint of node1 lies: {mode}")
        if run.with_baton:
            follows(run, at + 6, mode)
            named = [c["what"] for c in run.batons[1].status()["chain"]["caught"] if c["endpoint"] == liar.url]
            run.t.check(bool(named) == NAMED[mode], f"{mode}: {sum(liar.told.values())} lies told, " + (f"the liar is named: {named[0][:100]}" if NAMED[mode] else "nothing that proves a lie"), named)
    for i, mode in AT_THE_HANDOVER.items():
        run.batons[i].stop()
        liars[i].set(mode)
        liars[i].told.clear()
        run.batons[i].start()
    run.t.say("during the handover: " + ", ".join(f"node{i}'s endpoint {mode}" for i, mode in AT_THE_HANDOVER.items()))
    run.handed_over()
    if run.with_baton:
        swallowed = liars[1].told.get("broadcast_tx_sync", 0)
        run.t.check(swallowed > 0, f"node1's record was taken and dropped by its endpoint ({swallowed} broadcasts), and is on the chain all the same")
        head = run.net.up().rpc.height()
        run.t.check(head < height, f"all handed over in the lead window, at {head} of {height}")
    run.cross(height)
    run.settled()


def follows(run, height, mode):
    """Node1's Baton comes to a height all the same."""
    try:
        head = until("the chain's height", lambda: (lambda h: h if h >= height else None)(run.batons[1].status()["chain"]["height"]), 30, 0.5)
        run.t.check(True, f"node1's Baton follows the chain all the same ({mode}): {head}")
    except TimeoutError:
        run.t.check(False, f"node1's Baton follows the chain all the same ({mode})", run.batons[1].status()["chain"])


def lies(liar):
    """Asks the liar and the node behind it the same, and compares."""
    asked, truth = Rpc(liar.port, timeout=2), liar.node.rpc
    if liar.mode == "swallow":
        # Rubbish: the node refuses it.
        said, meant = (rpc.raw("broadcast_tx_sync", tx="0x00").get("result", {}).get("code") for rpc in (asked, truth))
        return said == 0 and meant != 0
    height = truth.newest() - 1
    try:
        answer = asked.raw("commit", height=height)
    except (ValueError, *DOWN):
        return True
    return answer.get("result") != truth.raw("commit", height=height)["result"] or asked.height() < height


def killed(run):
    """kill -9 of every Baton between its enclave's offer and the receipt, of cosmovisor and the chain's node around it; supervisors start them again."""
    run.begin()
    run.deliver()
    proposal, height = run.propose()
    run.voted(proposal)
    if run.with_baton:
        cut_off(run)
    run.net.wait_height(height - 26)
    for moment in range(4):
        victim = moment % len(run.batons)
        run.batons[victim].kill()
        node = run.net.nodes[(victim + 1) % len(run.batons)]
        node.process.kill()
        left = node.process.members()
        node.stop()
        run.t.say(f"kill -9: {f'Baton of node{victim}; ' if run.with_baton else ''}{'cosmovisor' if run.cosmovisor else 'the node'} of node{node.index}"
                  + (f", which leaves {len(left)} processes behind" if left else ""))
        time.sleep(0.3 * moment)
        run.batons[victim].start()
        run.start_node(node.index)
    run.handed_over()
    if run.cosmovisor:
        # Once more at the height itself: whatever was running there dies in the middle.
        words = "upgrade-info.json"
        until("the halt at node0", lambda: (run.net.nodes[0].home / "data" / words).exists(), 180, 0.05)
        for node in run.net.nodes:
            node.process.kill()
        run.t.say("kill -9 of every cosmovisor at the moment of the halt")
        for node in run.net.nodes:
            node.stop()
        run.supervise(run.all(), height + 3)
    run.cross(height)
    run.settled()
    taken_up(run, "Baton")


def taken_up(run, who):
    """A transfer whose offer was sealed when somebody died is finished where it was, or followed by a second offer: how many were open?"""
    if not run.with_baton:
        return
    hits = []
    for baton in run.batons:
        target = baton.seat("v2")["identity"]
        offers = [o for o in audit.copies({"": call(baton.binary, "log", "show", baton.home / "seats")}) if o.target == target]
        logs = [f.read_text(errors="replace") for f in (baton.log, baton.home / "hook.log") if f.exists()]
        hits.append(len(offers) > 1 or any(CUT_OFF in text for text in logs))
    run.t.check(any(hits), f"{sum(hits)} of {len(hits)} transfers had been offered and not confirmed when {who} was killed, and were taken up", hits)


SENT, OVER, CUT_OFF = "record of the handover for plan", "handed over to", "a transfer that was cut off is complete"


def at_the_offer(baton, kill, over):
    """Calls `kill` the moment that v1's enclave has sealed something; False where it is `over` before."""
    before, looks = baton.sealed("v1"), 0
    while baton.sealed("v1") == before:
        looks += 1
        if looks % 50 == 0 and over():
            return False
        time.sleep(0.001)
    kill()
    return True


def cut_off(run):
    """Every Baton is killed while its transfer is open: after the record, with the offer sealed, before the receipt. Counts how many were."""
    def one(baton):
        begin = baton.log.stat().st_size
        told = lambda: baton.log.read_bytes()[begin:].decode(errors="replace")
        until(f"the record of node{baton.node.index}", lambda: SENT in told(), 180, 0.01)
        end = time.monotonic() + 60
        if not at_the_offer(baton, baton.kill, lambda: time.monotonic() > end):
            return False
        hit = OVER not in told()
        baton.start()
        return hit

    with ThreadPoolExecutor() as pool:
        hits = list(pool.map(one, run.batons))
    run.t.check(sum(hits) >= 2, f"kill -9 of Baton the moment its enclave had sealed the offer: {sum(hits)} of {len(hits)} before the receipt", hits)


def killed_hook(run):
    """Nobody had the new build before the height; cosmovisor's hook hands over at X, is killed between offer and receipt, and does it again."""
    run.begin(hook_limit=150)
    height = run.upgrade_voted()
    if not (run.cosmovisor and run.with_baton):
        return run.t.say("without Baton, or without cosmovisor, there is no hook to kill")
    for i in run.all():
        until(f"the hook of node{i}", lambda n=run.net.nodes[i]: hook_of(n), 180, 0.1)
        until(f"the evidence at node{i}", lambda b=run.batons[i]: (b.status()["bundle"]["newest"] or 0) >= height - 1, 60, 0.5)
        # The hook itself takes the home.
        run.batons[i].stop()

    def one(i):
        """Kills hook after hook, each one seal of the old build later, so that all of rehearsal and transfer is met; until the handover is confirmed all the same."""
        baton, node, kills = run.batons[i], run.net.nodes[i], 0
        confirmed = baton.home / f"confirmed/{run.tools.measurement('v2')}.json"
        baton.install("v2")
        end = time.monotonic() + 180
        while kills < 10 and not confirmed.exists() and time.monotonic() < end:
            pid = hook_of(node)
            if pid:
                kills += slain_at_seal(pid, baton, kills + 1, confirmed.exists)
            elif not node.process.alive():
                node.stop()
                run.start_node(i)
            else:
                time.sleep(0.1)
        return kills

    with ThreadPoolExecutor() as pool:
        kills = list(pool.map(one, run.all()))
    run.t.check(min(kills) > 0, f"kill -9 of hooks, each when the old build had sealed something: {kills}", kills)
    for baton in run.batons:
        baton.start()
    run.supervise(run.all(), height + 3)
    run.crossed(height)
    run.settled()
    taken_up(run, "its hook")


def slain_at_seal(pid, baton, seals, over):
    """Lets a process run for a millisecond at a time, and kills it once v1's enclave has sealed this often; False where it has ended before."""
    def generation():
        return max((int(re.sub(r"\D", "", name)) for name in baton.sealed("v1")), default=0)

    first = generation()
    try:
        while not over():
            os.kill(pid, signal.SIGSTOP)
            if generation() - first >= seals:
                os.kill(pid, signal.SIGKILL)
                return True
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.001)
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
    return False


def hook_of(node):
    """Pid of the hook that a node's cosmovisor runs; None where none does."""
    for pid in node.process.members() if node.process else ():
        try:
            if b"custom-pre-upgrade" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
        except OSError:
            pass
    return None


def new_validators(run):
    """More than a third of the power changes hands while one node's Baton looks away: it must walk there, header by header where it has to."""
    run.begin(joiners=1)
    away, joiner = 2, len(run.net.powers)
    run.batons[away].stop()
    before = run.net.up().rpc.powers()
    node = run.net.nodes[joiner]
    file = node.home / "validator.json"
    key = node.run("comet", "show-validator").stdout.strip()
    file.write_text('{"pubkey": %s, "amount": "%d%s", "moniker": "node%d", "commission-rate": "0.1", "commission-max-rate": "0.2",'
                    ' "commission-max-change-rate": "0.01", "min-self-delegation": "1"}' % (key, 300 * TOKENS_PER_POWER, DENOM, joiner))
    node.tx("staking", "create-validator", file)
    until("the new validator in the set", lambda: 300 in run.net.up().rpc.powers().values(), 60)
    for i in (0, 1):
        run.net.nodes[i].tx("staking", "unbond", run.net.nodes[i].operator, f"{run.net.powers[i] * TOKENS_PER_POWER}{DENOM}")
    until("both old validators out of the set", lambda: len(run.net.up().rpc.powers()) == 3, 60)
    if run.with_baton:
        # Who has left the set answers for nobody: the first validator's word for this machine has lost its weight.
        run.batons[joiner].vouched_by(node)
    after = run.net.up().rpc.powers()
    kept = sum(p for a, p in before.items() if a in after)
    run.t.check(kept * 3 < sum(before.values()), f"of power {sum(before.values())} only {kept} is still in a set of {sum(after.values())}: less than a third")
    run.batons[away].start()
    run.deliver()
    height = run.upgrade_voted(votes={2: "yes", 3: "yes", joiner: "yes"})
    run.handed_over()
    run.cross(height)
    run.settled()


def no_funds(run):
    """Two nodes' accounts cannot pay for a record: one has nothing, one has no key at all. Peers publish for them."""
    run.begin(signers={2: "poor", 3: None})
    node = run.net.nodes[2]
    node.key("poor")
    try:
        node.memo("baton1:unfunded", by="poor")
        run.t.check(False, "the chain takes no transaction of an account without funds")
    except RuntimeError as refused:
        run.t.check(True, f"the chain takes no transaction of an account without funds: {str(refused)[-120:]}")
    run.deliver()
    height = run.upgrade_voted()
    run.handed_over()
    run.cross(height)
    run.settled()


def stranger(run):
    """Machines that nobody vouches for: the secret crosses to none of them, and to one whose word was taken back no more."""
    run.begin(joiners=2, strangers=2)
    first, second = len(run.net.powers), len(run.net.powers) + 1
    if not run.with_baton:
        return
    run.t.check(run.tools.admission == "vouched", "the policies ask for a validator's word")
    turned_away(run, first, "a machine that nobody names")
    gone = run.batons[first].vouched_by(run.net.nodes[0])
    run.batons[first].join(run.batons[0].url)
    run.reads(run.batons[first], "v1", "the vault is read on the machine that node0's validator vouches for")
    turned_away(run, second, "a machine beside the one that was named")
    run.batons[second].vouched_by(run.net.nodes[0], instead_of=gone)
    run.batons[second].join(run.batons[1].url)
    run.reads(run.batons[second], "v1", "the vault is read on the machine that was named in the other's place")
    # The first machine loses its copy and asks again, as a machine that a validator has given away would.
    run.batons[first].stop()
    shutil.move(run.batons[first].home / "seats", run.batons[first].home / "seats.gone")
    run.batons[first].start()
    turned_away(run, first, "a machine whose word was taken back")
    run.deliver()
    height = run.upgrade_voted()
    admitted = [*range(first), second]
    run.handed_over(nodes=admitted)
    run.cross(height, admitted)
    run.settled(admitted)
    held = [s["state"] for s in run.batons[first].status()["seats"] if s["state"] not in ("empty", "")]
    run.t.check(not held, f"node{first}, which nobody names, holds nothing of the new build either", held)


def turned_away(run, index, text):
    """A join that must not give anything, and must say why."""
    asked = run.net.up().rpc.height()
    try:
        run.batons[index].join(run.batons[0].url)
        run.t.check(False, f"node{index}: {text} is given nothing", run.batons[index].status()["seats"])
    except Refused as refused:
        why = refused.answer["error"]["what"]
        run.t.check("admit" in why or "vouch" in why, f"node{index}: {text} is given nothing: {why[:240]}", refused.words)
    held = [s["state"] for s in run.batons[index].status()["seats"] if s["state"] not in ("empty", "")]
    run.t.check(not held, f"node{index} holds nothing (asked from height {asked} on)", held)


def absence(run):
    """What an enclave that was away for 1 and for 1 000 blocks must be shown at the height, and what it costs to judge that."""
    run.begin(block="50ms")
    run.deliver()
    run.net.wait_height(30)
    height = run.upgrade_voted(ahead=1_010)
    run.net.wait_height(height - 30, timeout=1_200)
    run.handed_over()
    run.cross(height)
    if run.with_baton:
        answer = call(run.tools.binary, "evidence", "measure", "--rpc", run.net.up().rpc.url, "--policy", run.tools.folder / "v1.policy.toml",
                      "--plan", PLAN, "--absent", 1, "--absent", 1_000)
        for m in answer["measured"]:
            run.t.figure(f"evidence at the height after {m['absent']} blocks of absence", f"{m['bytes']} bytes, {m['headers']} headers, judged in {m['fastest_ms']:.2f} ms (fastest), {m['median_ms']:.2f} ms (median)", "")
        run.t.check(len(answer["measured"]) == 2, "both pieces of evidence hold")
    run.settled()


SCENARIOS = {
    "success": success,
    "no-one-prepared": no_one_prepared,
    "late": late,
    "late-alone": late_alone,
    "cancelled": cancelled,
    "overwritten": overwritten,
    "lost-votes": lost_votes,
    "skipped": skipped,
    "broken": broken,
    "lying-endpoint": lying_endpoint,
    "killed": killed,
    "killed-hook": killed_hook,
    "operator": operator,
    "new-validators": new_validators,
    "no-funds": no_funds,
    "stranger": stranger,
    "absence": absence,
    "ceremony": ceremony,
    "emergency": emergency,
    "order": order,
    "rewind": rewind,
    "snapshot": snapshot,
    "soak": soak,
}
