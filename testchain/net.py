#!/usr/bin/env python3
"""The test chain on loopback, by hand. Build it first: testchain/build OUT

  net.py up DIR --bin OUT [--powers 100,70,40,25] [--joiners N] [--cosmovisor]
  net.py status DIR
  net.py propose DIR --name enclave-v2 --in 60 [--info JSON] [--by NODE] [--expedited]
  net.py cancel DIR
  net.py vote DIR PROPOSAL [yes|no|no_with_veto|abstain] [--by NODE]
  net.py tx memo DIR TEXT [--by NODE]
  net.py stop DIR
"""
import argparse
import json
import sys

from lab.network import Network, cancel_message, upgrade_message


def up(a):
    powers = [int(p) for p in a.powers.split(",")]
    network = Network.create(a.dir, a.bin, powers, joiners=a.joiners, chain_id=a.chain_id, voting=a.voting, block=a.block)
    try:
        for node in network.nodes:
            if a.cosmovisor:
                node.install(network.binary)
            node.start(cosmovisor={} if a.cosmovisor else None)
        network.wait_height(2)
    except BaseException:
        network.stop()
        raise
    status(a)


def status(a):
    network = Network(a.dir)
    print(f"{network.chain_id} in {network.folder}")
    for node in network.nodes:
        height = node.rpc.height()
        runs = node.process and node.process.alive()
        state = f"height {height}" if height else "RPC down"
        print(f"  node{node.index}  {node.rpc.url}  {state}  pid {node.process.pid if runs else '-'}  binary {node.current()}  {node.address}")
    if any(n.rpc.height() for n in network.nodes):
        rpc = network.up().rpc
        print(f"  plan: {json.dumps(rpc.plan())}")
        print(f"  powers: {sorted(rpc.powers().values(), reverse=True)}")


def propose(a):
    network = Network(a.dir)
    height = network.up().rpc.height() + a.ahead
    proposal = network.submit([upgrade_message(a.name, height, a.info)], f"Upgrade {a.name}", by=a.by or 0, expedited=a.expedited)
    print(f"proposal {proposal}: plan {a.name} at height {height}")


def cancel(a):
    print(f"proposal {Network(a.dir).submit([cancel_message()], 'Cancel the upgrade', by=a.by or 0)}")


def vote(a):
    network = Network(a.dir)
    voters = range(len(network.powers)) if a.by is None else [a.by]
    network.vote(a.proposal, {i: a.option for i in voters})
    print(f"{len(voters)} votes {a.option} on proposal {a.proposal}")


def memo(a):
    result = Network(a.dir).nodes[a.by or 0].memo(a.text)
    print(f"transaction {result['hash']} in block {result['height']}")


def stop(a):
    print("stopped: " + (", ".join(Network(a.dir).stop()) or "nothing ran"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(name, run, where=commands):
        c = where.add_parser(name)
        c.set_defaults(run=run)
        c.add_argument("dir")
        c.add_argument("--by", type=int, metavar="NODE", help="number of the node whose account acts")
        return c

    c = command("up", up)
    c.add_argument("--bin", required=True, help="folder that testchain/build wrote")
    c.add_argument("--powers", default="100,70,40,25")
    c.add_argument("--joiners", type=int, default=0, help="further nodes that are no validators")
    c.add_argument("--chain-id", default="baton-test-1")
    c.add_argument("--voting", default="15s")
    c.add_argument("--block", default="500ms", help="pause after each block")
    c.add_argument("--cosmovisor", action="store_true")
    command("status", status)
    command("stop", stop)
    c = command("propose", propose)
    c.add_argument("--name", required=True)
    c.add_argument("--in", dest="ahead", type=int, required=True, metavar="BLOCKS")
    c.add_argument("--info", default="{}")
    c.add_argument("--expedited", action="store_true")
    command("cancel", cancel)
    c = command("vote", vote)
    c.add_argument("proposal", type=int)
    c.add_argument("option", nargs="?", default="yes")
    c = command("memo", memo, commands.add_parser("tx").add_subparsers(required=True))
    c.add_argument("text")
    a = parser.parse_args()
    try:
        a.run(a)
    except (RuntimeError, TimeoutError, OSError) as error:
        sys.exit(f"net.py: {error}")


if __name__ == "__main__":
    main()
