//! Stripe's signature on a delivery: an HMAC over the time and the body, so that neither a stranger nor
//! an old recording passes for a delivery.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The value of `Stripe-Signature`. The whole secret is the key, its prefix included.
pub(super) fn header(secret: &str, timestamp: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .expect("an HMAC takes a key of any length");
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let mut header = format!("t={timestamp},v1=");
    for byte in mac.finalize().into_bytes() {
        write!(header, "{byte:02x}").expect("writing to a String cannot fail");
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_another_tool_computes() {
        // printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test
        let expected = "c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925";
        let header = header("whsec_test", 1_700_000_000, r#"{"id":"evt_1"}"#);
        assert_eq!(header, format!("t=1700000000,v1={expected}"));
    }
}
