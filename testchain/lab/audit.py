"""The chain's records beside the nodes' custody logs, read without any of Baton's code but `baton log show`.

A record without a branch is a transfer that nobody's log admits; a branch without a record is a copy that nobody announced.
"""
import base64
import hashlib

from .rpc import fields

PREFIX = "baton1:"


def memo(tx):
    """The memo of a transaction's bytes: field 2 of TxBody, which is field 1 of TxRaw."""
    body = fields(tx).get(1, [b""])[0]
    return fields(body).get(2, [b""])[0].decode(errors="replace")


def records(rpc, first, last):
    """{digest as in the logs: (height, memo)} of every record in these blocks; failed transactions count too."""
    found = {}
    for height in range(first, last + 1):
        for tx in rpc.call("block", height=height)["block"]["data"]["txs"] or []:
            text = memo(base64.b64decode(tx))
            digest = record_digest(text)
            if digest:
                found.setdefault(digest, (height, text))
    return found


def record_digest(text):
    """How a log names a record: SHA-256 over context and CBOR, each with its length in front; None where the memo is no record."""
    if not text.startswith(PREFIX):
        return None
    body = text[len(PREFIX):]
    try:
        cbor = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except ValueError:
        return None
    # An array of seven; anything else is somebody's joke.
    if not cbor.startswith(b"\x87\x01"):
        return None
    return _hash("baton record v1", cbor)


def _hash(context, *parts):
    digest = hashlib.sha256()
    for part in (context.encode(), *parts):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def logged(shown):
    """{record digest: where} from the answers of `baton log show --json`, {node: answer}; transfers without a record separately."""
    named, unrecorded = {}, []
    for node, answer in shown.items():
        for log in answer["logs"]:
            for entry in log["entries"]:
                where = f"{node}, {log['log']}, entry {entry['seq']}: {entry['text']}"
                if entry["record"]:
                    named.setdefault(entry["record"], []).append(where)
                elif entry["name"] in ("offer", "offered"):
                    unrecorded.append(where)
    return named, unrecorded
