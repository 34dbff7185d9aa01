//! A signature header: `t=…,v1=…[,v1=…]`. What its parts are is decided here, and not
//! whether they are genuine.

use super::Unsigned;

/// The one scheme that is believed. `v0` is the provider's for test events, and whoever could choose
/// the scheme could choose a weak one.
const SCHEME: &str = "v1";
/// The most parts a header may have: a time, and a few signatures while secrets are replaced.
const PARTS_MAX: usize = 20;
/// The bytes of a SHA-256.
const SIGNATURE_BYTES: usize = 32;
/// The most digits of a time, so that it fits its type.
const TIME_DIGITS_MAX: usize = 18;

/// What a header says.
pub(super) struct Header<'a> {
    /// The time as it was written, which is what was signed.
    pub(super) signed_at: &'a str,
    pub(super) signed_at_unix_s: i64,
    pub(super) signatures: Vec<[u8; SIGNATURE_BYTES]>,
}

pub(super) fn parse(header: &str) -> Result<Header<'_>, Unsigned> {
    let parts: Vec<&str> = header.split(',').collect();
    if parts.len() > PARTS_MAX {
        return Err(Unsigned::MalformedHeader("too many parts"));
    }
    let mut signed_at = None;
    let mut signatures = Vec::new();
    for part in parts {
        let pair = part.split_once('=');
        let (name, value) = pair.ok_or(Unsigned::MalformedHeader("a part that is no pair"))?;
        match name {
            "t" if signed_at.is_some() => {
                return Err(Unsigned::MalformedHeader("more than one time"));
            }
            "t" => signed_at = Some(value),
            // What is no signature matches nothing, and another beside it may.
            SCHEME => signatures.extend(signature(value)),
            _ => {}
        }
    }
    let signed_at = signed_at.ok_or(Unsigned::MalformedHeader("no time"))?;
    let signed_at_unix_s = seconds(signed_at).ok_or(Unsigned::MalformedHeader("a bad time"))?;
    Ok(Header { signed_at, signed_at_unix_s, signatures })
}

fn seconds(text: &str) -> Option<i64> {
    let digits = text.len() <= TIME_DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Lower case only: a signature has one way of being written.
fn signature(hex: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != SIGNATURE_BYTES || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; SIGNATURE_BYTES];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
