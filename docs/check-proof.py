"""Checks a proof of publication without any code of Pyrsia: python3 check-proof.py FILE NETWORK

Prints what was published, out of the signed events: compare the SHA-256 with that of your file. Exits with 0 only if the proof holds. Follows docs/proofs.md step by
step; what it leaves out is listed there. Needs the package "cryptography".
"""

import base64, hashlib, json, sys, uuid
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

def need(condition, what):  # and no assert, which python3 -O skips
    if not condition: sys.exit(f"not proved: {what}")

class Reader:
    def __init__(self, data): self.data, self.at = data, 0
    def take(self, count):
        self.at += count
        need(self.at <= len(self.data), "something ends too early")
        return self.data[self.at - count:self.at]
    def number(self, count): return int.from_bytes(self.take(count), "little")
    def text(self): return self.take(self.number(4))

def sha(*parts): return hashlib.sha256(b"".join(parts)).digest()
def holds(key, signature, message):
    try: Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature: need(False, f"a signature of {key.hex()} is wrong")
def key_of(peer):  # base58; the last 32 bytes are the key
    number = 0
    for digit in peer:
        number = number * 58 + "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz".index(digit)
    return number.to_bytes(37, "big")[-32:]
def set_hash(keys): return sha(b"pyrsia/validators/v1\0", len(keys).to_bytes(4, "little"), *keys)

FIELDS = dict(version=2, network=32, height=8, parent=32, time=8, proposer=32, size=8, root=32, state=32, validators=32, next=32)
met = {}  # headers by their heights
def header(raw):
    reader, found = Reader(raw), {}
    for name, count in FIELDS.items():
        found[name] = reader.number(count) if count <= 8 else reader.take(count)
    need(found["version"] == 3 and found["network"] == network, "a block is of another network or version")
    found["hash"] = sha(b"pyrsia/block/v1\0", raw)
    need(met.setdefault(found["height"], found) == found, "two blocks are of one height")
    return found

def final(block, certificate, keys):  # more than two thirds of the keys cosigned the checkpoint of this block
    reader = Reader(certificate)
    height, round_, hash_, count = reader.number(8), reader.number(4), reader.take(32), reader.number(4)
    need(height == block["height"] and hash_ == block["hash"], "a certificate is of another block")
    need(block["validators"] == set_hash(keys), "a block names other validators")
    root = base64.b64encode(block["root"]).decode()
    text = f"pyrsia/{network.hex()}\n{block['size']}\n{root}\npyrsia/block {height} {round_} {hash_.hex()}\n"
    message = f"cosignature/v1\ntime {block['time'] // 1000}\n{text}".encode()
    signed = [(reader.take(32), reader.take(64)) for _ in range(count)]
    need(len(set(key for key, _ in signed) & set(keys)) == count and 3 * count > 2 * len(keys), "a block is not final")
    for key, signature in signed: holds(key, signature, message)
    return signed

def root_of(index, size, node, path):  # RFC 9162, section 2.1.3.2
    need(0 <= index < size, "an event is outside of the tree")
    last = size - 1
    for other in path:
        need(last, "a path is too long")
        if index % 2 or index == last:
            node = sha(b"\1", other, node)
            while index % 2 == 0 and index: index, last = index >> 1, last >> 1
        else:
            node = sha(b"\1", node, other)
        index, last = index >> 1, last >> 1
    need(last == 0, "a path is too short")
    return node

path, network = sys.argv[1], bytes.fromhex(sys.argv[2])
evidence = json.load(open(path))["evidence"]
raw = lambda part: base64.b64decode(part, validate=True)

def signed_event(data, network_in_it):
    need(data[:2] == b"\1\0" and data[2:34] == network_in_it, "an event is of another network or version")
    message = data[:-64]
    holds(data[34:66], data[-64:], b"pyrsia/event/v1\0" + network_in_it + len(message).to_bytes(8, "little") + message)
    return data[34:66], int.from_bytes(data[82:84], "little"), data[86:-64]  # author, kind, body

genesis = raw(evidence["genesis"])
header(genesis[:250])
founding = Reader(genesis[254:])  # behind the header and the number of events
founding.take(86), founding.text(), founding.take(32 + 64)
founding = founding.data[:founding.at]
need(sha(b"pyrsia/event-id/v1\0", founding[:-64]) == network, "another network was founded")
founder, kind, _ = signed_event(founding, bytes(32))
keys = [founder]
sets = [(0, keys)]  # the first height of each
links = []
for link in evidence["links"]:
    block = header(raw(link["header"]))
    need(block["height"] >= sets[-1][0], "the changes of the validators are in another order")
    final(block, raw(link["certificate"]), sets[-1][1])
    keys = [key_of(peer) for peer in link["next"]]
    need(block["next"] == set_hash(keys), "a block names other validators for the next height")
    sets.append((block["height"] + 1, keys))
    links.append((block, keys))
def set_at(height): return [keys for start, keys in sets if start <= height][-1]

def shown(part):
    parent, block = header(raw(part["parent"])), header(raw(part["header"]))
    need(parent["hash"] == block["parent"] and parent["height"] + 1 == block["height"], "a parent is another block")
    keys = set_at(block["height"])
    return parent, block, keys, final(block, raw(part["certificate"]), keys)

before_request, request, judges, _ = shown(evidence["request"])
before_publication, publication, _, cosigned = shown(evidence["publication"])
need(all(block["height"] < publication["height"] for block, _ in links), "the validators change after the publication")
need(request["height"] <= publication["height"], "the build is requested after its publication")
before = None
for height, block in sorted(met.items()):
    need(block["next"] == set_hash(set_at(height + 1)), "a change of the validators is left out")
    need(not before or before["size"] <= block["size"] and before["time"] <= block["time"], "a block goes back")
    before = block

build, earlier = None, -1
commitments, results, vouched, added = {}, {}, {}, {}
for placed in evidence["events"]:
    data, index = raw(placed["event"]), placed["index"]
    need(earlier < index, "the events are in another order")
    earlier = index
    leaf, path = sha(b"\0", data), [bytes.fromhex(hash_) for hash_ in placed["path"]]
    need(root_of(index, publication["size"], leaf, path) == publication["root"], "an event is not in the tree")
    author, kind, body = signed_event(data, network)
    need(author in judges, "an author is no judge")
    if build is None:
        need(kind == 5 and before_request["size"] <= index < request["size"], "the request is not in its block")
        build, reader = body[:16], Reader(body[16:])
        package = (reader.text(), reader.text())
        reader.take(4)  # the attempt
        named = bytearray(sha(b"pyrsia/build-id/v1\0", network, reader.data[:reader.at])[:16])
        named[6], named[8] = named[6] & 0x0f | 0x80, named[8] & 0x3f | 0x80  # a UUID of version 8
        need(build == named, "the id of the build does not follow from package and attempt")
        continue
    need(body[:16] == build, "an event is about another build")
    if kind == 9:
        need(not results and author not in commitments, "a commitment comes too late")
        commitments[author] = body[16:]
    elif kind == 10:
        need(author not in results, "a judge shows two results")
        outcome, salt = body[16:-32], body[-32:]
        if author in commitments:
            opened = sha(b"pyrsia/result-commitment/v1\0", network, build, author, salt, outcome)
            need(commitments[author] == opened, "a result is not the one that was committed to")
        results[author] = index, outcome
    elif kind == 12:
        need((author, body[16:48]) not in vouched, "a judge vouches twice")
        vouched[author, body[16:48]] = index, body[48]
    else:
        need(kind == 7, "an event does not belong here")
        reader = Reader(body[16:])
        need((reader.text(), reader.text()) == package, "an artifact is of another package")
        artifact = reader.data[reader.at:]
        id_, _, _, digest = reader.text(), reader.text(), reader.take(8), reader.take(32)
        need(id_ not in added, "an artifact is published twice")
        added[id_] = index, artifact, digest
need(added, "no artifact is published")
first, last = (choose(index for index, _, _ in added.values()) for choose in (min, max))
need(before_publication["size"] <= last < publication["size"], "the last artifact is not in its block")

def digests_of(outcome):  # what a majority agrees on, to the last bit and without forgiven noise; whether it has all artifacts
    reader, artifacts, canonical = Reader(outcome[1:]), set(), set()
    kind, _, revision = reader.text(), reader.text(), reader.text()
    for _ in range(reader.number(4)):
        start = reader.at
        id_, media, size, digests = reader.text(), reader.text(), reader.number(8), reader.take(96)
        artifacts.add((id_, media, size, digests, reader.data[start:reader.at]))
        canonical.add((id_, media, digests[32:64]))
    number = lambda value: len(value).to_bytes(4, "little")
    parts = [number(kind), kind, number(revision), revision, number(artifacts), *(artifact[-1] for artifact in sorted(artifacts))]
    has_all = {artifact for _, artifact, _ in added.values()} <= {artifact[-1] for artifact in artifacts}
    return sha(b"pyrsia/agreement/v1\0", *parts), (kind, revision, canonical), has_all

built = {judge: (index, *digests_of(outcome)) for judge, (index, outcome) in results.items() if judge in commitments and outcome[0] == 0}
gone = {}  # judges that left, and how many events the ledger had then
for block, keys in links:
    for judge in judges:
        if block["height"] >= request["height"] and judge not in keys: gone.setdefault(judge, block["size"])

def standing(candidate, canonical):  # the most judges that stood for it before its publication
    said, builders = {}, set()
    for judge, (index, digest, same, _) in built.items():
        at, verdict = vouched.get((judge, candidate), (0, None))
        if digest == candidate:
            said[judge] = index
            builders.add(judge)
        elif same == canonical and verdict == 0 and at > index:
            said[judge] = at
    counts = [0]
    for at in said.values():
        if at < first:
            stand = {judge for judge, index in said.items() if index <= at < gone.get(judge, first)}
            if stand & builders: counts.append(len(stand))
    return max(counts)

most = max((standing(candidate, canonical) for _, candidate, canonical, has_all in built.values() if has_all), default=0)
need(2 * most > len(judges), f"{most} of {len(judges)} judges are no majority")
print(*(text.decode() for text in package), f"in build {uuid.UUID(bytes=build)}")
for id_, (_, _, digest) in added.items(): print(f"{digest.hex()}  {id_.decode()}")
print(f"{most} of {len(judges)} judges, {len(cosigned)} cosigners, block {publication['height']}")
