"""The chain's records beside the nodes' custody logs, read without any of Baton's code but `baton log show`: the second reader,
beside which `baton audit` is laid in every story. What both count must be the same, and each finds its mismatches by itself.

A record without a branch is a transfer that nobody's log admits; a branch without a record is a copy that nobody announced.
"""
import base64
import dataclasses
import hashlib

from .rpc import fields

PREFIX = "baton1:"


def memo(tx):
    """The memo of a transaction's bytes: field 2 of TxBody, which is field 1 of TxRaw."""
    body = fields(tx).get(1, [b""])[0]
    return fields(body).get(2, [b""])[0].decode(errors="replace")


@dataclasses.dataclass
class Record:
    """One announced transfer, as the chain shows it."""
    height: int
    kind: int
    proposal: int
    platform: str
    target: str


UPGRADE = 1


def records(rpc, first, last):
    """{digest as in the logs: Record} of these blocks; failed transactions count too."""
    found = {}
    for height in range(first, last + 1):
        for tx in rpc.call("block", height=height)["block"]["data"]["txs"] or []:
            read = read_record(memo(base64.b64decode(tx)), height)
            if read:
                found.setdefault(*read)
    return found


def memos(rpc):
    """Every record on the chain, as its memo."""
    blocks = (rpc.call("block", height=height)["block"]["data"]["txs"] or [] for height in range(1, rpc.newest() + 1))
    found = [memo(base64.b64decode(tx)) for txs in blocks for tx in txs]
    return [text for text in found if read_record(text, 0)]


def read_record(text, height):
    """(digest, Record) of a memo; None where it is no record."""
    if not text.startswith(PREFIX):
        return None
    body = text[len(PREFIX):]
    try:
        cbor = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        # The array [1, kind, epoch, proposal, platform, target, request].
        version, kind, _, proposal, platform, target, _ = _seven(cbor)
    except (ValueError, IndexError):
        return None
    if version != 1:
        return None
    return _hash("baton record v1", cbor), Record(height, kind, proposal, platform.hex(), target.hex())


def _seven(cbor):
    """The items of a CBOR array of seven numbers and byte strings."""
    if cbor[0] != 0x87:
        raise ValueError("no array of seven")
    items, at = [], 1
    for _ in range(7):
        major, short = cbor[at] >> 5, cbor[at] & 31
        at += 1
        if short >= 24:
            size = 1 << (short - 24)
            short, at = int.from_bytes(cbor[at:at + size], "big"), at + size
        if major == 2:
            items.append(cbor[at:at + short])
            at += short
        elif major == 0:
            items.append(short)
        else:
            raise ValueError(f"major type {major}")
    if at != len(cbor):
        raise ValueError("bytes behind the array")
    return items


def _hash(context, *parts):
    digest = hashlib.sha256()
    for part in (context.encode(), *parts):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


@dataclasses.dataclass
class Offer:
    """A handover that a source's log holds."""
    where: str
    record: str
    target: str
    text: str


def copies(shown):
    """All handovers in the answers of `baton log show --json`, {node: answer}."""
    return [Offer(f"{node}, log {log['log'][-40:]}, entry {entry['seq']}", entry["record"], entry["identity"], entry["text"])
            for node, answer in shown.items() for log in answer["logs"] for entry in log["entries"] if entry["name"] == "Offer"]


def compare(found, made):
    """What lies apart: (offers whose record is missing on the chain, offers at X that no record has followed, records of nothing)."""
    named = {offer.record for offer in made if offer.record}
    missing = [offer for offer in made if offer.record and offer.record not in found]
    # An offer at X is made before its record: the record names the same target, and no log names the record.
    free = {digest: record for digest, record in found.items() if digest not in named}
    owed = []
    for offer in made:
        if not offer.record:
            followed = next((d for d, r in free.items() if r.kind == UPGRADE and r.target == offer.target), None)
            if followed:
                del free[followed]
            else:
                owed.append(offer)
    return missing, owed, list(free.values())
