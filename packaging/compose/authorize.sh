#!/bin/sh
# Makes the four nodes of compose.yaml build nodes, one after the other: each is approved by more than half of those before it.
# Run again, it changes nothing. COMPOSE: the command, "docker compose" where it is not set.
set -eu
cd "$(dirname "$0")"
compose=${COMPOSE:-docker compose}
wait_seconds=300

# $compose is words, not a word.
pyrsia() { at=$1; shift; $compose exec -T "$at" pyrsia "$@"; }
value() { sed -n "s/.*\"$1\": *\"\\{0,1\\}\\([^\",}]*\\)\"\\{0,1\\}.*/\\1/p" | head -n 1; }

# until_true COMMAND...: tries it once a second.
until_true() {
    end=$(($(date +%s) + wait_seconds))
    until "$@" > /dev/null 2>&1; do
        [ "$(date +%s)" -lt "$end" ] || { echo "gave up waiting for: $*" >&2; exit 1; }
        sleep 1
    done
}
in_network() { [ "$(pyrsia "$1" status --json | value network)" = "$network" ]; }
is_authorized() { [ "$(pyrsia "$1" status --json | value authorized)" = true ]; }
# approved NODE PEER_ID: the founder approves the first; more than half of those before it the others, and an approval too many is refused.
approved() {
    for approver in ${approvers:-node1}; do
        if is_authorized "$1"; then return; fi
        pyrsia "$approver" authorize --peer "$2" || true
    done
    is_authorized "$1"
}

$compose version > /dev/null || { echo "\"$compose\" does not run; COMPOSE names another command" >&2; exit 1; }
until_true pyrsia node1 ping
network=$(pyrsia node1 status --json | value network)
echo "network $network"
approvers=
for node in node1 node2 node3 node4; do
    until_true in_network "$node"
    peer=$(pyrsia "$node" status --json | value peer_id)
    until_true approved "$node" "$peer"
    echo "$node is authorized: $peer"
    approvers="$approvers $node"
done
