//! Whether a webhook is the carrier's: a signature over its time and its bytes, by a secret that only
//! the carrier and we have. What it says is read only after that.

use std::{collections::BTreeMap, fmt, str::FromStr};

use domain::Carrier;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How far the time of a signature may be from ours, in seconds, in either direction. It bounds how long a
/// recorded delivery can be played again.
pub(crate) const TOLERANCE_SECONDS: i64 = 300;
/// The longest header that is read.
const HEADER_CHARS_MAX: usize = 2048;
/// The shortest secret: anything shorter was cut off or made up.
const SECRET_CHARS_MIN: usize = 16;
/// The most secrets of all carriers together.
const SECRETS_MAX: usize = 100;
/// The bytes of a SHA-256.
const SIGNATURE_BYTES: usize = 32;

/// The carriers that may tell us things, each with the secrets it signs with: one, or two while one
/// replaces the other. They are never printed.
#[derive(Clone, Default)]
pub struct CarrierSecrets(BTreeMap<Carrier, Vec<Hmac<Sha256>>>);

impl fmt::Debug for CarrierSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CarrierSecrets").field(&self.0.keys()).finish()
    }
}

/// As `carrier:secret`, with commas between.
impl FromStr for CarrierSecrets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut secrets = BTreeMap::<Carrier, Vec<_>>::new();
        let pairs: Vec<&str> =
            text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).collect();
        if pairs.len() > SECRETS_MAX {
            return Err(format!("at most {SECRETS_MAX} secrets"));
        }
        for pair in pairs {
            // What is wrong is never quoted: it may be a secret.
            let (carrier, secret) =
                pair.split_once(':').ok_or("each is a carrier, a colon and its secret")?;
            let carrier = carrier.parse::<Carrier>().map_err(|error| error.to_string())?;
            let visible = secret.bytes().all(|byte| byte.is_ascii_graphic());
            if secret.len() < SECRET_CHARS_MIN || !visible {
                return Err(format!(
                    "a secret is at least {SECRET_CHARS_MIN} visible ASCII characters, such as from `openssl rand -hex 32`"
                ));
            }
            let mac = Hmac::new_from_slice(secret.as_bytes()).expect("a key may have any length");
            secrets.entry(carrier).or_default().push(mac);
        }
        Ok(Self(secrets))
    }
}

/// Why a delivery is not taken. Nothing may be done about what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    #[error("nobody by that name may tell us anything")]
    UnknownCarrier,
    #[error("Carrier-Signature must be t=<seconds>,v1=<hexadecimal digits>")]
    Malformed,
    #[error("no signature matches")]
    Forged,
    #[error("it was signed more than {TOLERANCE_SECONDS} s ago, or in the future")]
    Stale,
}

impl CarrierSecrets {
    /// Whether the body, exactly as it came, was signed by the carrier just now.
    pub(crate) fn verify(
        &self,
        carrier: &Carrier,
        header: &str,
        body: &[u8],
        now_unix_s: i64,
    ) -> Result<(), Rejected> {
        let secrets = self.0.get(carrier).ok_or(Rejected::UnknownCarrier)?;
        let (signed_at, signatures) = parse(header).ok_or(Rejected::Malformed)?;
        let signed = secrets.iter().any(|secret| {
            let mac = secret.clone().chain_update(signed_at).chain_update(b".").chain_update(body);
            signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
        });
        if !signed {
            return Err(Rejected::Forged);
        }
        // Only now, since the time is worth nothing before the signature over it is.
        let signed_at: i64 = signed_at.parse().map_err(|_| Rejected::Malformed)?;
        if now_unix_s.saturating_sub(signed_at).saturating_abs() > TOLERANCE_SECONDS {
            return Err(Rejected::Stale);
        }
        Ok(())
    }
}

/// The time as it was written, which is what was signed, and the signatures of the one scheme.
fn parse(header: &str) -> Option<(&str, Vec<[u8; SIGNATURE_BYTES]>)> {
    if header.len() > HEADER_CHARS_MAX {
        return None;
    }
    let mut signed_at = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.split_once('=')? {
            ("t", _) if signed_at.is_some() => return None,
            ("t", time) => signed_at = Some(time),
            // What is no signature matches nothing, and another beside it may.
            ("v1", hex) => signatures.extend(signature(hex)),
            _ => {}
        }
    }
    Some((signed_at?, signatures))
}

fn signature(hex: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != SIGNATURE_BYTES || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; SIGNATURE_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let digits = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const SECRET: &str = "a secret-of-the-carrier";
    const NOW: i64 = 1_800_000_000;

    fn secrets() -> CarrierSecrets {
        "dhl:a-secret-of-the-carrier,dhl:its-older-secret-1,ups:the-secret-of-another"
            .parse()
            .expect("secrets")
    }

    fn sign(secret: &str, at: i64, body: &str) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
        let bytes = mac.chain_update(format!("{at}.{body}")).finalize().into_bytes();
        let mut header = format!("t={at},v1=");
        for byte in bytes {
            write!(header, "{byte:02x}").expect("a string");
        }
        header
    }

    fn verify(carrier: &str, header: &str, body: &str) -> Result<(), Rejected> {
        secrets().verify(&carrier.parse().expect("a carrier"), header, body.as_bytes(), NOW)
    }

    #[test]
    fn what_the_carrier_signed_just_now_is_taken_by_either_of_its_secrets() {
        for secret in ["a-secret-of-the-carrier", "its-older-secret-1"] {
            assert_eq!(verify("dhl", &sign(secret, NOW, "{}"), "{}"), Ok(()));
        }
        assert_eq!(verify("dhl", &sign("a-secret-of-the-carrier", NOW - 300, "{}"), "{}"), Ok(()));
    }

    #[test]
    fn what_is_forged_stale_or_another_carriers_is_refused() {
        let good = sign("a-secret-of-the-carrier", NOW, "{}");
        let stale = |by| sign("a-secret-of-the-carrier", NOW + by, "{}");
        assert_eq!(verify("dhl", &good, "{ }"), Err(Rejected::Forged));
        assert_eq!(verify("ups", &good, "{}"), Err(Rejected::Forged));
        assert_eq!(verify("fedex", &good, "{}"), Err(Rejected::UnknownCarrier));
        assert_eq!(
            verify("dhl", &good.replace(&NOW.to_string(), "1"), "{}"),
            Err(Rejected::Forged)
        );
        assert_eq!(verify("dhl", &stale(-301), "{}"), Err(Rejected::Stale));
        assert_eq!(verify("dhl", &stale(301), "{}"), Err(Rejected::Stale));
        for bad in ["", "t=1", "v1=00", "t=1,t=2,v1=00", "nonsense"] {
            assert!(verify("dhl", bad, "{}").is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_secret_is_long_enough_and_never_printed() {
        assert!("dhl:short".parse::<CarrierSecrets>().is_err());
        assert!("a-secret-of-the-carrier".parse::<CarrierSecrets>().is_err());
        assert!(format!("dhl:{SECRET}").parse::<CarrierSecrets>().is_err(), "a space in it");
        assert!("".parse::<CarrierSecrets>().is_ok());
        assert!(!format!("{:?}", secrets()).contains("a-secret"));
    }
}
