//! A part of the ledger in a text: its canonical encoding in base64 (RFC 4648, section 4).

use crate::audit::sentence;
use crate::signed::decode_canonical;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<T: BorshSerialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = borsh::to_vec(value).map_err(S::Error::custom)?;
    serializer.serialize_str(&STANDARD.encode(bytes))
}

pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: BorshDeserialize + BorshSerialize,
    D: Deserializer<'de>,
{
    let text = <String as Deserialize>::deserialize(deserializer)?;
    let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
    decode_canonical("a part in base64", &bytes).map_err(|error| D::Error::custom(sentence(&error)))
}
