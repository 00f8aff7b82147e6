//! Blocks in their own encoding, for who wants to check them: each as its length (u32, little-endian) and its bytes.

use pyrsia_ledger::SealedBlock;

/// What `GET /api/v1/blocks` answers when it is the only type accepted.
pub const BLOCKS_MEDIA_TYPE: &str = "application/vnd.pyrsia.blocks";

#[derive(Debug, thiserror::Error)]
#[error("the page of blocks ends in the middle of one")]
pub struct BlocksPageError;

pub(crate) fn join_blocks(blocks: &[SealedBlock]) -> Vec<u8> {
    let mut page = vec![];
    for block in blocks {
        let raw = block.encode();
        page.extend_from_slice(&(raw.len() as u32).to_le_bytes());
        page.extend_from_slice(&raw);
    }
    page
}

/// The bytes of each block on a page; at the end of the ledger the page is empty.
pub fn split_blocks(mut page: &[u8]) -> Result<Vec<&[u8]>, BlocksPageError> {
    let mut blocks = vec![];
    while !page.is_empty() {
        let (length, rest) = page.split_first_chunk::<4>().ok_or(BlocksPageError)?;
        let (raw, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(BlocksPageError)?;
        blocks.push(raw);
        page = rest;
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_split_where_it_was_joined_and_a_torn_one_is_refused() {
        let page = [[3, 0, 0, 0].as_slice(), b"one", &[0; 4], &[2, 0, 0, 0], b"ab"].concat();
        assert_eq!(split_blocks(&page).expect("whole"), [b"one".as_slice(), b"", b"ab"]);
        assert!((1..page.len()).filter(|end| ![7, 11].contains(end)).all(|end| split_blocks(&page[..end]).is_err()));
    }
}
