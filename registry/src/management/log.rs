//! The ledger, block by block.

use super::{body, error::Refused, json};
use crate::server::Front;
use crate::wire::{BLOCKS_MEDIA_TYPE, BlockView, BlocksPage, EventView, join_blocks};
use poem::http::{StatusCode, header};
use poem::{Request, Response};
use pyrsia_ledger::{Height, SealedBlock, SignedEvent};
use serde::Deserialize;

/// The most bytes of encoded blocks on one page; there is always one block where there is one.
const PAGE_BYTES_MAX: usize = 256 * 1_024;
/// The most blocks on one page.
const PAGE_BLOCKS_MAX: usize = 100;

#[derive(Deserialize)]
struct BlocksQuery {
    #[serde(default)]
    from: u64,
}

pub(crate) async fn blocks(front: &Front, request: &Request) -> Result<Response, Refused> {
    let BlocksQuery { from } = body::query(request)?;
    let mut found = front.node.blocks(Height(from), PAGE_BYTES_MAX).await;
    if request.header(header::ACCEPT) == Some(BLOCKS_MEDIA_TYPE) {
        return Ok(Response::builder().content_type(BLOCKS_MEDIA_TYPE).body(join_blocks(&found)));
    }
    found.truncate(PAGE_BLOCKS_MAX);
    let end = front.node.ledger().state.as_ref().map(|state| state.height());
    let next = found.last().map(|block| block.height()).filter(|last| Some(*last) < end).map(Height::next);
    let blocks = found.iter().map(BlockView::from).collect();
    Ok(json(StatusCode::OK, &BlocksPage { blocks, next }))
}

pub(crate) async fn block(front: &Front, height: &str) -> Result<Response, Refused> {
    Ok(json(StatusCode::OK, &block_view(front, height).await?))
}

pub(crate) async fn block_view(front: &Front, height: &str) -> Result<BlockView, Refused> {
    let height = height.parse().map_err(|_| Refused::bad_request(format!("{height:?} is not the height of a block")))?;
    let found = front.node.blocks(Height(height), 1).await;
    let block = found.first().filter(|block| block.height() == Height(height));
    let block = block.ok_or_else(|| Refused::not_found(format!("this node has no block {height}")))?;
    Ok(BlockView::from(block))
}

impl From<&SealedBlock> for BlockView {
    fn from(sealed: &SealedBlock) -> Self {
        let header = &sealed.block.header;
        Self {
            height: header.height,
            hash: sealed.block.hash(),
            parent: header.parent,
            network: header.network,
            time_ms: header.time_ms,
            proposer: header.proposer,
            tree_size: header.tree_size,
            tree_root: header.tree_root,
            state_root: header.state_root,
            validators: header.validators,
            next_validators: header.next_validators,
            round: sealed.certificate.round,
            signers: sealed.certificate.signatures.iter().map(|(node, _)| *node).collect(),
            events: sealed.block.events.iter().map(event).collect(),
        }
    }
}

pub(super) fn event(signed: &SignedEvent) -> EventView {
    let kind = signed.event().kind();
    // An event serializes as its kind, which is the key, and the fields below it.
    let mut tagged = serde_json::to_value(signed.event()).expect("events have text keys only");
    EventView {
        id: *signed.id().digest(),
        kind: kind.to_owned(),
        author: signed.author(),
        sequence: signed.unsigned.sequence,
        claimed_time_ms: signed.unsigned.claimed_time_ms,
        body: tagged.get_mut(kind).map(serde_json::Value::take).unwrap_or_default(),
        signature: signed.signature.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
