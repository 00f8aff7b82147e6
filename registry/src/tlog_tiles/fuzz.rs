//! Whatever follows `/log/tile/`.

use super::{TILE_WIDTH, What, parse};

/// A path that is read is the one that the specification gives the tile.
pub(crate) fn tile_path(bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    let Some(tile) = parse(path) else { return };
    let level = match tile.what {
        What::Hashes { level } => level.to_string(),
        What::Entries => "entries".to_owned(),
    };
    let (mut rest, mut groups) = (tile.index / 1_000, vec![format!("{:03}", tile.index % 1_000)]);
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1_000));
        rest /= 1_000;
    }
    groups.reverse();
    let width = if tile.width == TILE_WIDTH { String::new() } else { format!(".p/{}", tile.width) };
    assert_eq!(format!("{level}/{}{width}", groups.join("/")), path);
}

pub(crate) fn tile_path_seeds() -> Vec<Vec<u8>> {
    ["0/000", "8/x001/x234/067", "1/x001/000.p/5", "entries/x123/456.p/255", "63/x018/x446/x744/x073/x709/x551/615"]
        .map(|path| path.as_bytes().to_vec())
        .to_vec()
}
