"""Checks a proof of publication without any code of Pyrsia: python3 check-proof.py FILE NETWORK

Follows docs/proofs.md step by step, but for the tree of the request and the words under "says". Needs the package "cryptography".
"""

import base64, hashlib, json, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

class Reader:
    def __init__(self, data): self.data, self.at = data, 0
    def take(self, count):
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count:self.at]
    def number(self, count): return int.from_bytes(self.take(count), "little")
    def text(self): return self.take(self.number(4))

def sha(*parts): return hashlib.sha256(b"".join(parts)).digest()
def holds(key, signature, message): Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
def key_of(peer):  # base58; the last 32 bytes are the key
    number = 0
    for digit in peer:
        number = number * 58 + "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz".index(digit)
    return number.to_bytes(37, "big")[-32:]
def set_hash(keys): return sha(b"pyrsia/validators/v1\0", len(keys).to_bytes(4, "little"), *keys)

FIELDS = dict(version=2, network=32, height=8, parent=32, time=8, proposer=32, size=8, root=32, state=32, validators=32, next=32)
def header(raw):
    reader, found = Reader(raw), {}
    for name, count in FIELDS.items():
        found[name] = reader.number(count) if count <= 8 else reader.take(count)
    assert found["version"] == 3 and found["network"] == network
    return found | {"hash": sha(b"pyrsia/block/v1\0", raw)}

def final(block, certificate, keys):  # more than two thirds of the keys cosigned the checkpoint of this block
    reader = Reader(certificate)
    height, round_, hash_, count = reader.number(8), reader.number(4), reader.take(32), reader.number(4)
    assert height == block["height"] and hash_ == block["hash"] and block["validators"] == set_hash(keys)
    root = base64.b64encode(block["root"]).decode()
    text = f"pyrsia/{network.hex()}\n{block['size']}\n{root}\npyrsia/block {height} {round_} {hash_.hex()}\n"
    message = f"cosignature/v1\ntime {block['time'] // 1000}\n{text}".encode()
    signed = [(reader.take(32), reader.take(64)) for _ in range(count)]
    assert len(set(key for key, _ in signed) & set(keys)) == count and 3 * count > 2 * len(keys)
    for key, signature in signed: holds(key, signature, message)
    return signed

def root_of(index, size, node, path):  # RFC 9162, section 2.1.3.2
    last = size - 1
    for other in path:
        if index % 2 or index == last:
            node = sha(b"\1", other, node)
            while index % 2 == 0 and index: index, last = index >> 1, last >> 1
        else:
            node = sha(b"\1", node, other)
        index, last = index >> 1, last >> 1
    assert last == 0
    return node

path, network = sys.argv[1], bytes.fromhex(sys.argv[2])
evidence = json.load(open(path))["evidence"]
raw = lambda part: base64.b64decode(part, validate=True)

def signed_event(data, network_in_it):
    assert data[2:34] == network_in_it
    message = data[:-64]
    holds(data[34:66], data[-64:], b"pyrsia/event/v1\0" + network_in_it + len(message).to_bytes(8, "little") + message)
    return data[34:66], int.from_bytes(data[82:84], "little"), data[86:-64]  # author, kind, body

genesis = raw(evidence["genesis"])
founding = Reader(genesis[254:])  # behind the header and the number of events
founding.take(86), founding.text(), founding.take(32 + 64)
founding = founding.data[:founding.at]
assert sha(b"pyrsia/event-id/v1\0", founding[:-64]) == network
founder, kind, _ = signed_event(founding, bytes(32))
keys = [founder]
sets = [(0, keys)]  # the first height of each
for link in evidence["links"]:
    block = header(raw(link["header"]))
    assert block["height"] >= sets[-1][0]
    final(block, raw(link["certificate"]), sets[-1][1])
    keys = [key_of(peer) for peer in link["next"]]
    assert block["next"] == set_hash(keys)
    sets.append((block["height"] + 1, keys))

def shown(part):
    parent, block = header(raw(part["parent"])), header(raw(part["header"]))
    assert parent["hash"] == block["parent"]
    keys = [keys for start, keys in sets if start <= block["height"]][-1]
    cosigned = final(block, raw(part["certificate"]), keys)
    return parent, block, keys, cosigned

before_request, request, judges, _ = shown(evidence["request"])
before_publication, publication, _, cosigned = shown(evidence["publication"])
commitments, same, added, results = {}, {}, [], {}
for placed in evidence["events"]:
    data = raw(placed["event"])
    leaf, path = sha(b"\0", data), [bytes.fromhex(hash_) for hash_ in placed["path"]]
    assert root_of(placed["index"], publication["size"], leaf, path) == publication["root"]
    author, kind, body = signed_event(data, network)
    assert author in judges
    if kind == 5:
        assert before_request["size"] <= placed["index"] < request["size"]
        build = body[:16]
    assert body[:16] == build
    if kind == 9:
        assert not results
        commitments[author] = body[16:]
    if kind == 10 and author in commitments:
        outcome, salt = body[16:-32], body[-32:]
        assert commitments[author] == sha(b"pyrsia/result-commitment/v1\0", network, build, author, salt, outcome)
        results[author] = outcome
    if kind == 12 and body[48] == 0:
        same.setdefault(body[16:48], set()).add(author)
    if kind == 7:
        reader = Reader(body[16:])
        reader.text(), reader.text()
        added.append(reader.data[reader.at:])
        last = placed["index"]
assert added and before_publication["size"] <= last < publication["size"]

def digest_of(outcome):  # of what a majority agrees on: the candidate
    reader = Reader(outcome[1:])
    kind, _, revision = reader.text(), reader.text(), reader.text()
    artifacts = []
    for _ in range(reader.number(4)):
        start = reader.at
        order = (reader.text(), reader.text(), reader.number(8), reader.take(96))
        artifacts.append((order, reader.data[start:reader.at]))
    if not set(added) <= {data for _, data in artifacts}: return None
    number = lambda value: len(value).to_bytes(4, "little")
    parts = [number(kind), kind, number(revision), revision, number(artifacts)]
    return sha(b"pyrsia/agreement/v1\0", *parts, *(data for _, data in sorted(artifacts)))

built = {}
for author, outcome in results.items():
    if outcome[0] == 0: built.setdefault(digest_of(outcome), set()).add(author)
for candidate in built.keys() - {None}:
    standing = built[candidate] | (same.get(candidate, set()) & results.keys())
    if 2 * len(standing) > len(judges):
        print(f"{len(standing)} of {len(judges)} judges, {len(cosigned)} cosigners, block {publication['height']}")
        break
else:
    sys.exit("no majority")
