//! What this node keeps of the distributed hash table for others.
//!
//! The table finds who has an artifact and nothing else, so this node keeps provider records whose key is a sha256, with a few
//! short addresses, and no values. Anybody may send records: without these bounds each could be as large as a message of
//! kad, and a few peers could fill the memory of all nodes.

use libp2p::Multiaddr;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig, RecordStore};
use libp2p::kad::{self, ProviderRecord};
use pyrsia_ledger::Sha256Digest;

/// Providers of one artifact: a search ends with fewer.
const PROVIDERS_PER_KEY_MAX: usize = 8;
/// Addresses of one provider, and the bytes of each: one with a DNS name, transports and two peer ids fits.
const ADDRESSES_MAX: usize = 4;
const ADDRESS_BYTES_MAX: usize = 256;
const KEY_BYTES: usize = size_of::<[u8; 32]>();

/// The bounds of the store; `keys_max` counts the artifacts of this node and those of others together.
pub(super) fn store_config(keys_max: usize) -> MemoryStoreConfig {
    MemoryStoreConfig {
        max_records: 0,
        max_value_bytes: 0,
        max_providers_per_key: PROVIDERS_PER_KEY_MAX,
        max_provided_keys: keys_max,
    }
}

pub(super) fn key_of(sha256: &Sha256Digest) -> kad::RecordKey {
    kad::RecordKey::new(sha256.as_bytes())
}

/// Keeps what a peer asked this node to keep, as far as it is of use.
pub(super) fn keep(request: kad::InboundRequest, store: &mut MemoryStore) {
    if let kad::InboundRequest::AddProvider { record: Some(mut record) } = request
        && trim(&mut record)
        && let Err(error) = store.add_provider(record)
    {
        tracing::debug!(%error, "a provider record of a peer is not kept");
    }
}

/// Cuts a record to what is kept of it; whether anything is.
fn trim(record: &mut ProviderRecord) -> bool {
    record.addresses.retain(|address: &Multiaddr| address.len() <= ADDRESS_BYTES_MAX);
    record.addresses.truncate(ADDRESSES_MAX);
    record.addresses.shrink_to_fit();
    record.key.as_ref().len() == KEY_BYTES
}

#[cfg(test)]
impl crate::p2p::P2pHandle {
    /// Who announced an artifact, as far as this node finds out.
    pub(crate) async fn providers(&self, sha256: Sha256Digest) -> Vec<pyrsia_ledger::NodeId> {
        self.reach.find_providers(sha256).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::behaviour::{self, Behaviour, BehaviourEvent};
    use crate::p2p::network_config::NetworkConfig;
    use crate::p2p::peer_id::peer_of;
    use crate::p2p::tests::{Setup, TestNode};
    use futures::StreamExt as _;
    use libp2p::identity::Keypair;
    use libp2p::kad::{GetProvidersOk, GetRecordOk, QueryId, QueryResult, Quorum, Record, RecordKey};
    use libp2p::swarm::SwarmEvent;
    use libp2p::{PeerId, Swarm};
    use prometheus_client::metrics::counter::Counter;
    use std::time::{Duration, Instant};

    const DEADLINE: Duration = Duration::from_secs(60);

    /// A peer that speaks the protocols and follows nobody's rules.
    fn stranger(node: &TestNode) -> Swarm<Behaviour> {
        let mut swarm =
            behaviour::build(&Keypair::generate_ed25519(), 64, &NetworkConfig::default(), Counter::default()).expect("a swarm");
        swarm.behaviour_mut().kad.add_address(&peer_of(&node.id), node.p2p.addresses()[0].clone());
        swarm
    }

    /// What a query found: values, and who provides.
    async fn found(swarm: &mut Swarm<Behaviour>, query: QueryId) -> (usize, Vec<PeerId>) {
        let (mut values, mut providers) = (0, vec![]);
        let ended = async {
            loop {
                let event = swarm.select_next_some().await;
                let SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed { id, result, step, .. })) =
                    event
                else {
                    continue;
                };
                match result {
                    QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(_))) => values += 1,
                    QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers: found, .. })) => {
                        providers.extend(found);
                    }
                    _ => {}
                }
                if id == query && step.last {
                    return;
                }
            }
        };
        tokio::time::timeout(DEADLINE, ended).await.expect("the query ends");
        (values, providers)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn peers_can_leave_provider_records_of_artifacts_here_and_nothing_else() {
        let node = Setup::new(1).start().await;
        let (artifact, long) = (key_of(&Sha256Digest::of(b"artifact")), RecordKey::new(&vec![7; 4_096]));
        let mut flooder = stranger(&node);
        // Kad names no provider that it knows no address of.
        flooder.add_external_address("/ip4/203.0.113.7/tcp/1".parse().expect("an address"));
        let flooder_id = *flooder.local_peer_id();
        let value = Record::new(artifact.clone(), vec![0; 4_096]);
        flooder.behaviour_mut().kad.put_record_to(value, [peer_of(&node.id)].into_iter(), Quorum::One);
        for key in [long.clone(), artifact.clone()] {
            flooder.behaviour_mut().kad.start_providing(key).expect("there is room");
        }
        let flooding = tokio::spawn(async move {
            loop {
                flooder.select_next_some().await;
            }
        });

        let mut reader = stranger(&node);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let query = reader.behaviour_mut().kad.get_providers(artifact.clone());
            if found(&mut reader, query).await.1 == [flooder_id] {
                break;
            }
            assert!(Instant::now() < deadline, "the record of an artifact is not kept");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // These were sent before the record that has arrived.
        let query = reader.behaviour_mut().kad.get_record(artifact);
        assert_eq!(found(&mut reader, query).await.0, 0);
        let query = reader.behaviour_mut().kad.get_providers(long);
        assert_eq!(found(&mut reader, query).await.1, []);
        flooding.abort();
        node.stop().await;
    }

    #[test]
    fn of_many_and_long_addresses_a_few_short_ones_are_kept() {
        let short: Multiaddr = "/ip4/203.0.113.7/tcp/1".parse().expect("an address");
        let long: Multiaddr = format!("/dns4/{}/tcp/1", "a".repeat(ADDRESS_BYTES_MAX)).parse().expect("an address");
        let addresses = [vec![long], vec![short.clone(); 100]].concat();
        let mut record = ProviderRecord::new(RecordKey::new(&[0; 32]), PeerId::random(), addresses);
        assert!(trim(&mut record));
        assert_eq!(record.addresses, vec![short; ADDRESSES_MAX]);
    }
}
