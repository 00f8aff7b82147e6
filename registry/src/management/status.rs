//! What the node and its network look like from here.

use super::error::Refused;
use super::{json, package_types};
use crate::metrics;
use crate::server::Front;
use crate::wire::{
    AbsentNodeView, CandidateView, ConsensusStatus, ExchangeView, JudgeSummaryView, JudgingView, MemberView, NetworkView,
    NodeStatus, OfferedVerifierView, PassView, PhaseView, RunningHeightView, VerifierView,
};
use poem::Response;
use poem::http::{StatusCode, header};
use pyrsia_ledger::projection::members::Candidate;
use pyrsia_ledger::projection::verifiers::Module;
use pyrsia_ledger::{NodeId, PackageType, Projections, Sha256Digest};
use pyrsia_node::builds::judging::{JudgeSummary, JudgingSummary, PhaseSummary, judging};
use pyrsia_node::consensus::{ConsensusView, RoundStep, RunningHeight, Silence};
use pyrsia_node::p2p::{Distribution, Forwarding, Rate, Reachability};
use pyrsia_node::{NodeHandle, OfferedVerifier};

/// The description of `/api/v1` (OpenAPI 3.1).
pub(crate) const OPENAPI: &str = include_str!("../../openapi.json");

/// The process answers.
pub(crate) fn live() -> Result<Response, Refused> {
    Ok(text("ok\n"))
}

/// What a node that goes on without its bucket says.
const BUCKET_IS_DOWN: &str = "ok\nthe bucket does not answer: the node goes on with its disk and its peers\n";

/// The node follows a network and can say what is published, and goes on doing so.
pub(crate) fn ready(front: &Front) -> Result<Response, Refused> {
    if front.leaving.is_cancelled() {
        return Err(Refused::unavailable("this node is stopping".to_owned()));
    }
    match &front.node.ledger().state {
        // Nothing that is asked of the node needs the bucket.
        Some(_) if front.node.bucket_is_down() => Ok(text(BUCKET_IS_DOWN)),
        Some(_) => Ok(text("ok\n")),
        None => Err(Refused::no_network()),
    }
}

fn text(text: &'static str) -> Response {
    Response::builder().header(header::CONTENT_TYPE, "text/plain; charset=utf-8").body(text)
}

pub(crate) fn metrics(front: &Front) -> Result<Response, Refused> {
    let exposition = front.metrics.exposition(front.node.metrics());
    Ok(Response::builder().header(header::CONTENT_TYPE, metrics::CONTENT_TYPE).body(exposition))
}

pub(crate) fn openapi() -> Result<Response, Refused> {
    Ok(Response::builder().header(header::CONTENT_TYPE, "application/json").body(OPENAPI))
}

pub(crate) fn status(front: &Front) -> Result<Response, Refused> {
    Ok(json(StatusCode::OK, &status_of(&front.node)))
}

pub(crate) fn status_of(node: &NodeHandle) -> NodeStatus {
    let view = node.ledger();
    let state = view.state.as_deref();
    NodeStatus {
        peers_count: node.peers().len(),
        peer_id: node.node_id(),
        peer_addrs: node.addresses().iter().map(ToString::to_string).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        authorized: state.is_some_and(|state| state.members.contains(&node.node_id())),
        network: state.map(|state| *state.network()),
        network_name: state.map(|state| state.name().to_owned()),
        height: state.map(Projections::height),
        consensus: state.map(|_| consensus_status(&node.consensus())),
        exchange: Some(exchange_view(node)),
    }
}

fn consensus_status(view: &ConsensusView) -> ConsensusStatus {
    let step = |step: RoundStep| match step {
        RoundStep::Proposal => "proposal".to_owned(),
        RoundStep::Prevotes => "prevotes".to_owned(),
        RoundStep::Precommits => "precommits".to_owned(),
    };
    let running = |running: RunningHeight| RunningHeightView {
        height: running.height,
        round: running.round,
        step: running.step.map(step),
        proposer: running.proposer,
    };
    ConsensusStatus {
        quorum: view.quorum,
        validators: view.validators.len(),
        is_halted: view.is_halted,
        absent: view.absent.iter().map(|absent| AbsentNodeView { node: absent.node, since_ms: absent.since_ms }).collect(),
        silence: view.silence.map(why_silent),
        running: view.running.map(running),
        waiting_events: view.waiting_events,
    }
}

fn judging_view(summary: JudgingSummary) -> JudgingView {
    let phase = |PhaseSummary { phase, builds, missing_answers }| PhaseView { phase: phase.to_owned(), builds, missing_answers };
    let judge = |JudgeSummary { node, builds, owes }| JudgeSummaryView { node, builds, owes };
    JudgingView {
        phases: summary.phases.into_iter().map(phase).collect(),
        judges: summary.judges.into_iter().map(judge).collect(),
        at_risk: summary.at_risk,
    }
}

fn exchange_view(node: &NodeHandle) -> ExchangeView {
    let (network, outside, traffic) = (node.network_config(), node.outside(), node.traffic());
    ExchangeView {
        distribution: match network.distribution {
            Distribution::On => "on".to_owned(),
            Distribution::Off => "off".to_owned(),
        },
        upload_rate: network.upload_rate.map(Rate::bytes_per_second),
        download_rate: network.download_rate.map(Rate::bytes_per_second),
        max_connections: network.max_connections,
        reachability: match outside.reachability {
            Reachability::Unknown => "unknown".to_owned(),
            Reachability::Public => "public".to_owned(),
            Reachability::Private => "private".to_owned(),
        },
        relays: outside.relays,
        port_forwarding: match outside.forwarding {
            Forwarding::Off => "off".to_owned(),
            Forwarding::Asked => "asked".to_owned(),
            Forwarding::Forwarded => "forwarded".to_owned(),
            Forwarding::NoGateway => "no_gateway".to_owned(),
            Forwarding::PrivateGateway => "private_gateway".to_owned(),
        },
        direct_connections: traffic.direct_connections,
        relayed_connections: traffic.relayed_connections,
        holes_punched: traffic.holes_punched,
        holes_not_punched: traffic.holes_not_punched,
        fetched: traffic.fetched,
        not_fetched: traffic.not_fetched,
        received_bytes: traffic.received_bytes,
        sent_bytes: traffic.sent_bytes,
    }
}

fn why_silent(silence: Silence) -> String {
    match silence {
        Silence::LostLedger { answered, needed } => format!(
            "it lost its ledger and may have signed what it does not remember: {answered} of {needed} other authorized nodes have told how far the network is"
        ),
        Silence::UntilHeight { height } => {
            format!(
                "it lost its ledger and may have signed what it does not remember, up to block {height}: it signs again above that"
            )
        }
    }
}

pub(crate) fn peers(front: &Front) -> Result<Response, Refused> {
    Ok(json(StatusCode::OK, &front.node.peers()))
}

pub(crate) fn network(front: &Front) -> Result<Response, Refused> {
    let view = front.node.ledger();
    let state = view.state.as_deref().ok_or_else(Refused::no_network)?;
    Ok(json(StatusCode::OK, &network_view(state, &front.node)))
}

pub(crate) fn network_view(state: &Projections, node: &NodeHandle) -> NetworkView {
    let verifier = |((package_type, digest), module): (&(PackageType, Sha256Digest), &Module)| VerifierView {
        package_type: package_type.clone(),
        module: *digest,
        contract_version: module.contract_version,
        approvals: module.approvals.clone(),
        approved_at: module.approved_at,
        current: state.verifiers.current(package_type) == Some(*digest),
    };
    NetworkView {
        network: *state.network(),
        name: state.name().to_owned(),
        founder: state.founder(),
        height: state.height(),
        tip: state.tip(),
        time_ms: state.time_ms(),
        tree_size: state.tree_size(),
        tree_root: state.tree_root(),
        state_root: state.state_root(),
        artifacts: state.packages.artifact_count(),
        members: state.members.active().map(|(node, member)| MemberView { node: *node, since: member.since }).collect(),
        candidates: state.members.candidates().map(candidate_view).collect(),
        validators: state.validators().nodes().to_vec(),
        verifiers: state.verifiers.modules().map(verifier).collect(),
        package_types: node.package_types().into_iter().map(package_types::view).collect(),
        offered_verifiers: node.offered_verifiers().into_iter().map(offered_view).collect(),
        consensus: consensus_status(&node.consensus()),
        judging: judging_view(judging(state)),
        exchange: exchange_view(node),
        peers_count: node.peers().len(),
    }
}

pub(super) fn candidate_view((node, candidate): (&NodeId, &Candidate)) -> CandidateView {
    CandidateView { node: *node, approvals: candidate.approvals.clone(), approved_at: candidate.approved_at }
}

fn offered_view(offered: OfferedVerifier) -> OfferedVerifierView {
    let OfferedVerifier { module, description, approvals } = offered;
    OfferedVerifierView {
        module,
        package_type: description.package_type,
        aliases: description.aliases,
        coordinate_syntax: description.coordinate_syntax,
        examples: description.examples,
        passes: description.passes.into_iter().map(|pass| PassView { name: pass.name, forgives: pass.forgives }).collect(),
        http_paths: description.http_paths,
        approvals,
    }
}
