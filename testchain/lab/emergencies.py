"""Break glass on the real chain: the hotfix after a crash, an order by validators' accounts, and the network's way back to an ancestor."""
import json
import re
import shutil
import time

from .glass import NEEDED, NOTICE_BLOCKS
from .rpc import until
from .run import PLAN


def named_for_ever(run, file, kind, nodes=None):
    """Status, metrics and custody log of each node name an order, also after its daemon was started again."""
    digest = run.glass.shown(file)["digest"]
    for i in run.all(nodes):
        baton = run.batons[i]
        baton.stop()
        baton.start()
        found = until("the emergency in the status", lambda b=baton: [e for e in b.status().get("emergencies", []) if e["digest"] == digest], 30, 0.5)
        logs = run.log_entries(baton)
        run.t.check(found[0]["kind"] == kind and any(digest in e for e in logs),
                    f"node{i}: after a restart status and custody log still name order {found[0]['number']} ({kind}) at height {found[0]['height']}", found)


def obeyed(run, file, how, nodes=None):
    """Each node's daemon carries an order to its enclaves."""
    for i in run.all(nodes):
        began = time.monotonic()
        done, answer = run.glass.carry(file, run.batons[i], *how)
        run.t.check(done, f"node{i}: obeyed after {time.monotonic() - began:.1f} s: {answer.get('said', '')[:160]}", json.dumps(answer)[:600])


def break_at_x1(run):
    """The voted chain binary panics at X+1 on every node; the plan's height is returned."""
    for node, baton in zip(run.net.nodes, run.batons):
        if run.cosmovisor:
            run.install_new(node, baton, binary="testchaind-v2-broken")
    run.deliver()
    height = run.upgrade_voted()
    run.handed_over()
    if not run.cosmovisor:
        run.wait_halt(height)
        run.replace_binaries(binary="testchaind-v2-broken")
    for node in run.net.nodes:
        until(f"node{node.index} to break at {height + 1}", lambda n=node: "broken on purpose" in n.log.read_text(errors="replace"), 180)
    run.t.say(f"the new binary panics at {height + 1} on every node; no vote is possible")
    return height


def emergency(run):
    """The new binary dies at X+1 everywhere and no vote is possible: council and witnesses move the secret to a hotfix, the chain goes on, the order follows on chain."""
    run.begin(glass=True)
    height = break_at_x1(run)
    for node in run.net.nodes:
        node.stop()
    run.t.say("every node of the chain is stopped")
    if not run.with_baton:
        return mended(run, height)
    glass = run.glass
    run.publish("v3", 3, like="v2")
    run.deliver("v3")
    source = run.batons[0].wait_seat("v2", lambda s: s["state"] == "holding", "the voted build in force")
    file = glass.handover(source["identity"], "v3", f"the chain binary of {PLAN} dies at {height + 1}; the mended one needs this build")
    policy = run.tools.folder / "v2.policy.toml"
    glass.sign(file, "ada")
    run.t.check(not glass.verify(file, policy)[0], f"one signature of {NEEDED} is not enough")
    glass.sign(file, "bob")
    run.t.check(glass.verify(file, policy)[0], "two members of the council are enough; one signed with Ed25519, one with P-256")
    early, answer = glass.carry(file, run.batons[0], *glass.by_log(), wait=0)
    run.t.check(not early, f"nothing leaves before the notice: {answer.get('said', '')[:160]}", answer)
    glass.witnessed(file, policy)
    obeyed(run, file, glass.by_log())
    for i in run.all():
        run.state(i, "v3", ("holding",), "the hotfix holds the secret")
        run.reads(run.batons[i], "v3", "the vault is read by the hotfix, on a dead chain")
    mended(run, height)
    published(run, file)
    named_for_ever(run, file, "handover")
    run.audited()


def mended(run, height):
    """Operators install a chain binary that can make block X+1, with the guard in front of it, and start."""
    for node in run.net.nodes:
        index, baton = node.index, run.batons[node.index]
        if run.cosmovisor:
            run.install_new(node, baton)
            script = node.home / f"cosmovisor/upgrades/{PLAN}/bin/testchaind"
            if run.with_baton:
                script.write_text(script.read_text().replace(f'--plan "{PLAN}"', f'--build "{baton.home}/builds/v3.sgxs"'))
            run.start_node(index)
        else:
            guard = [baton.binary, "guard", "--home", baton.home, "--build", baton.home / "builds/v3.sgxs", "--"] if run.with_baton else ()
            node.start(binary=run.net.binaries / "testchaind-v2", guard=guard)
    run.net.wait_height(height + 6, timeout=180)
    run.t.check(run.net.nodes[0].rpc.applied(PLAN, height), f"the chain ran the plan at {height} and goes on with the mended binary")
    run.halt_time(height)


def published(run, file):
    """The order goes into a block as soon as there are blocks: anybody may send it."""
    memo = run.glass.memo(file)
    result = run.net.nodes[3].memo(memo)
    run.t.check(True, f"the order is public on chain: {memo} in block {result['height']}")
    return int(result["height"])


def order(run):
    """Validators order a handover with their accounts (ADR-036, the chain's own keyring), weighed by staking records; its notice is a transaction."""
    run.begin(glass=True)
    if not run.with_baton:
        return
    glass, rpc = run.glass, run.net.nodes[0].rpc.url
    run.publish("v3", 3)
    run.deliver("v3")
    policy = run.tools.folder / "v1.policy.toml"
    file = glass.handover(run.batons[0].seat("v1")["identity"], "v3", "a defect in v1 that cannot wait for a vote")
    for index in (0, 2):
        glass.sign_account(file, run.net.nodes[index])
    # An account that is no validator signs too: it spoils nothing and weighs nothing.
    glass.sign_account(file, run.net.nodes[3], "stranger")
    holds, said = glass.verify(file, policy, rpc)
    run.t.check(not holds and said["accounts"] == 3, f"accounts of 140 of 235 power are not more than two thirds, weighed at height {said.get('weighed_at')}", said)
    done, answer = glass.carry(file, run.batons[0], wait=0)
    run.t.check(not done, f"nothing leaves before the order is public: {answer.get('said', '')[:160]}", answer)
    at = published(run, file)
    done, answer = glass.carry(file, run.batons[0], wait=NOTICE_BLOCKS + 6)
    words = f"{answer.get('said', '')} {answer.get('last_refusal') or ''}"
    run.t.check(not done and "wo thirds" in words, f"the enclave weighs the same and refuses, notice or not: {words[:220]}", answer)
    glass.sign_account(file, run.net.nodes[1])
    holds, said = glass.verify(file, policy, rpc)
    run.t.check(holds, f"with the third account 210 of 235 power ordered it, weighed at height {said.get('weighed_at')}", said)
    obeyed(run, file, [])
    first = min(e["height"] for b in run.batons for e in b.status()["emergencies"])
    run.t.check(first >= at + NOTICE_BLOCKS, f"nothing was obeyed before block {at} was {NOTICE_BLOCKS} blocks old: first at {first}")
    for i in run.all():
        run.state(i, "v3", ("holding",), "the build of the order holds the secret")
        run.state(i, "v1", ("confirmed",), "nothing is erased on an order alone")
        run.reads(run.batons[i], "v3", "the vault is read by the build of the order")
    named_for_ever(run, file, "handover")
    run.audited()


def back(run, snapshot=False):
    """The whole network goes back to an ancestor below the enclaves' heads, by the chain's `rollback --hard` or to a snapshot; the enclaves follow by order alone."""
    run.begin(glass=True, advance=2)
    network = run.net
    if snapshot:
        taken(run)
    head = network.up().rpc.newest() + 5
    network.wait_height(head)
    if run.with_baton:
        for baton in run.batons:
            baton.wait_seat("v1", lambda s: s["head"] >= head - 2, "a head near the chain's")
    left = hashes(network.nodes[0].rpc, max(head - 80, 1), network.nodes[0].rpc.height())
    for node in network.nodes:
        node.stop()
    # Where the branch would soon be as high as the old one it grows slowly, until the order is obeyed.
    if snapshot:
        put_back(run)
    else:
        rolled_back(run, 6)
        pace(run, "5s")
    for node in network.nodes:
        run.start_node(node.index)
    rpc = network.nodes[0].rpc
    ancestor = until("the branch to leave the old one", lambda: parted(rpc, left), 120, 0.5)
    run.t.check(max(left) - ancestor >= 5, f"the network's branch leaves the old one above height {ancestor}, {max(left) - ancestor} blocks below where it was", ancestor)
    if not run.with_baton:
        return
    before = [b.seat("v1")["head"] for b in run.batons]
    run.t.check(min(before) > ancestor, f"the enclaves' trusted heads are above it: {before}")
    for i in run.all():
        run.reads(run.batons[i], "v1", "serving is not taken away: the vault is read")
    glass = run.glass
    file = glass.new("rewind", run.batons[0].seat("v1")["identity"], f"the network went back to height {ancestor}",
                     "--height", ancestor, "--hash", left[ancestor])
    glass.sign(file, "bob")
    glass.sign(file, "chen")
    glass.witnessed(file, run.tools.folder / "v1.policy.toml")
    heads, at = [b.seat("v1")["head"] for b in run.batons], rpc.height()
    run.t.check(heads == before and at <= min(before), f"no head has moved, with the network at {at}", heads)
    # With a snapshot of its own a node needs no order: its state goes back with it.
    ordered = [0, 1, 2] if snapshot else run.all()
    if snapshot:
        restored(run, 3)
    obeyed(run, file, glass.by_log(), ordered)
    behind = [run.batons[i].seat("v1")["head"] for i in ordered]
    run.t.check(all(ancestor <= h < old for h, old in zip(behind, before)), f"by the order the heads went back: {behind}", before)
    if not snapshot:
        pace(run, "500ms", restart=True)
    now = rpc.newest()
    network.wait_height(now + 4)
    for baton in run.batons:
        baton.wait_seat("v1", lambda s: s["head"] >= now, "the network's own branch", 60)
    run.t.check(True, f"every enclave follows the network's branch again, past {now}")
    published(run, file)
    run.deliver()
    height = run.upgrade_voted()
    run.handed_over()
    run.cross(height)
    run.settled()
    named_for_ever(run, file, "rewind", ordered)


def rolled_back(run, depth):
    """Each operator drops blocks with the chain's own command, all down to one height; validators forget the votes on them."""
    def once(node):
        return int(re.search(r"to height (\d+)", node.run("rollback", "--hard").stdout)[1])

    reached = {node.index: [once(node) for _ in range(depth)][-1] for node in run.net.nodes}
    lowest = min(reached.values())
    for node in run.net.nodes:
        while reached[node.index] > lowest:
            reached[node.index] = once(node)
        node.forget_votes(lowest)
        run.t.say(f"node{node.index}: rollback --hard, again and again, to height {reached[node.index]}")


def pace(run, pause, restart=False):
    """Sets the pause after each block, for the next start or at once."""
    for node in run.net.nodes:
        if restart:
            node.stop()
        node.set_config({"consensus": {"timeout_commit": f'"{pause}"'}})
        if restart:
            run.start_node(node.index)


def parted(rpc, left):
    """The highest header that both branches have, once the network's own has another one above it; None before."""
    height = rpc.height() or 0
    now = hashes(rpc, min(left), min(height, max(left)))
    same = [h for h, value in now.items() if value == left[h]]
    return max(same) if len(same) < len(now) else None


def taken(run):
    """A copy of every node's data folder, taken while all are stopped: the network's snapshot."""
    for node in run.net.nodes:
        node.stop()
    for node in run.net.nodes:
        shutil.copytree(node.home / "data", node.home / "data.snapshot")
    for baton in run.batons if run.with_baton else ():
        baton.stop()
        made = baton.call("snapshot", "create", "--out", bundle(run, baton), "--validator-state", baton.node.home / "data/priv_validator_state.json")
        run.t.say(f"node{baton.node.index}: baton snapshot create: it stands for height {made['height']}")
        baton.start()
    height = max(int(json.loads((n.home / "data/priv_validator_state.json").read_text())["height"]) for n in run.net.nodes)
    for node in run.net.nodes:
        run.start_node(node.index)
    run.t.say(f"every node's data folder was copied, at height {height}")
    run.net.wait_height(height + 60)


def bundle(run, baton):
    return run.folder / f"node{baton.node.index}.snapshot"


def restored(run, index):
    """One node's Baton goes back by its own snapshot, on the machine that it is of and on no other."""
    baton, other = run.batons[index], run.batons[index - 1]
    for b in (baton, other):
        b.stop()
    refused = run._try(lambda: other.call("snapshot", "verify", bundle(run, baton)))
    run.t.check(not refused, f"node{index}'s snapshot does not open on node{index - 1}'s machine")
    opened = run._try(lambda: baton.call("snapshot", "verify", bundle(run, baton)))
    run.t.check(opened and opened["accept"], f"node{index}'s snapshot opens on its own")
    back = baton.call("snapshot", "restore", bundle(run, baton), "--yes")
    run.t.check(back["accept"], f"node{index}: baton snapshot restore: height {back['height']}; given up: {'; '.join(back['losses']) or 'nothing'}")
    for b in (baton, other):
        b.start()


def put_back(run):
    """Every operator puts the copy back, the validator's own state with it: safe only because all do."""
    for node in run.net.nodes:
        shutil.rmtree(node.home / "data")
        shutil.copytree(node.home / "data.snapshot", node.home / "data")


def hashes(rpc, first, last):
    """{height: hash of the header}"""
    return {h: rpc.call("commit", height=h)["signed_header"]["commit"]["block_id"]["hash"].lower() for h in range(first, last + 1)}


def rewind(run):
    """The whole network goes back by `rollback --hard`, below the enclaves' heads; they follow by an order to rewind, and by nothing else."""
    back(run)


def snapshot(run):
    """The whole network returns to a snapshot of its data folders; the enclaves follow by an order to rewind."""
    back(run, snapshot=True)
