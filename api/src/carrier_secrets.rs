//! Whether a webhook is the carrier's: a signature over its time and its bytes, by a secret that only
//! the carrier and we have. What it says is read only after that.

use std::{collections::BTreeMap, fmt, str::FromStr};

use domain::Carrier;
use payments::webhook::{self, Secret, Unsigned};

/// The most secrets of all carriers together.
const SECRETS_MAX: usize = 100;

/// The carriers that may tell us things, each with the secrets it signs with: one, or two while one
/// replaces the other. They are never printed.
#[derive(Clone, Default)]
pub struct CarrierSecrets(BTreeMap<Carrier, Vec<Secret>>);

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
            let secret: Secret = secret
                .parse()
                .map_err(|invalid| format!("{invalid}, such as from `openssl rand -hex 32`"))?;
            secrets.entry(carrier).or_default().push(secret);
        }
        Ok(Self(secrets))
    }
}

/// Why a delivery is not taken. Nothing may be done about what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    #[error("nobody by that name may tell us anything")]
    UnknownCarrier,
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
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
        Ok(webhook::verify(secrets, header, body, now_unix_s)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret-of-the-carrier";
    const NOW: i64 = 1_800_000_000;

    fn secrets() -> CarrierSecrets {
        "dhl:a-secret-of-the-carrier,dhl:its-older-secret-1,ups:the-secret-of-another"
            .parse()
            .expect("secrets")
    }

    fn sign(secret: &str, at: i64, body: &str) -> String {
        secret.parse::<Secret>().expect("a secret").sign(at, body.as_bytes())
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
        assert_eq!(verify("dhl", &good, "{ }"), Err(Unsigned::NoMatchingSignature.into()));
        assert_eq!(verify("ups", &good, "{}"), Err(Unsigned::NoMatchingSignature.into()));
        assert_eq!(verify("fedex", &good, "{}"), Err(Rejected::UnknownCarrier));
        assert_eq!(
            verify("dhl", &good.replace(&NOW.to_string(), "1"), "{}"),
            Err(Unsigned::NoMatchingSignature.into())
        );
        assert_eq!(verify("dhl", &stale(-301), "{}"), Err(Unsigned::TooOld.into()));
        assert_eq!(verify("dhl", &stale(301), "{}"), Err(Unsigned::TooNew.into()));
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
