//! A checkout as it is asked for, checked field by field so that everything wrong is told at once.

use std::time::Duration;

use domain::{Money, PaymentMethod};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, FieldError};

const EMAIL_CHARS_MAX: usize = 254;
const LINE_CHARS_MAX: usize = 200;
const CITY_CHARS_MAX: usize = 100;
const POSTAL_CODE_CHARS_MAX: usize = 20;
const KEY_CHARS_MAX: usize = 255;
/// How long a client waits for an outcome if it does not say, and at most.
const WAIT_SECONDS_DEFAULT: u64 = 2;
const WAIT_SECONDS_MAX: u64 = 20;

/// The ISO 3166-1 two-letter codes.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ \
    BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER \
    ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM \
    IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF \
    MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK \
    PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD \
    TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";

/// Where to ship to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) name: String,
    pub(crate) line1: String,
    pub(crate) line2: Option<String>,
    pub(crate) city: String,
    pub(crate) postal_code: String,
    pub(crate) country: String,
}

/// What a checkout is asked to be. Its order of fields is part of its fingerprint.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CheckoutRequest {
    pub(crate) expected_total: Option<Money>,
    pub(crate) payment: Option<PaymentMethod>,
    pub(crate) email: String,
    pub(crate) shipping_address: Address,
}

impl CheckoutRequest {
    /// The same request, or everything that is wrong with it.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        let address = &self.shipping_address;
        let mut errors = Vec::new();
        if !plausible_email(&self.email) {
            let detail =
                format!("an e-mail address has at most {EMAIL_CHARS_MAX} characters around one @");
            errors.push(FieldError::at("/email", "invalid_value", detail));
        }
        let mut line = |field: &str, text: &str, chars_max: usize| {
            if !plain_text(text, chars_max) {
                let pointer = format!("/shipping_address/{field}");
                let detail =
                    format!("1 to {chars_max} characters, none of them a control character");
                errors.push(FieldError::at(pointer, "invalid_value", detail));
            }
        };
        line("name", &address.name, LINE_CHARS_MAX);
        line("line1", &address.line1, LINE_CHARS_MAX);
        if let Some(line2) = &address.line2 {
            line("line2", line2, LINE_CHARS_MAX);
        }
        line("city", &address.city, CITY_CHARS_MAX);
        line("postal_code", &address.postal_code, POSTAL_CODE_CHARS_MAX);
        if !COUNTRIES.split(' ').any(|code| code == address.country) {
            let detail = "two capital letters of ISO 3166-1, such as DE";
            errors.push(FieldError::at("/shipping_address/country", "invalid_value", detail));
        }
        if errors.is_empty() { Ok(self) } else { Err(Error::Invalid(errors)) }
    }

    /// Tells this request from another that is sent with the same key.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(serde_json::to_vec(self).expect("our own types are JSON")).into()
    }
}

/// A key that a client may send to name a request.
#[derive(Debug, Clone)]
pub(crate) struct IdempotencyKey(String);

impl IdempotencyKey {
    pub(crate) fn parse(header: &[u8]) -> Result<Self, Error> {
        let printable = header.iter().all(|byte| (b' '..=b'~').contains(byte));
        if !(1..=KEY_CHARS_MAX).contains(&header.len()) || !printable {
            return Err(Error::IdempotencyKeyMissing);
        }
        Ok(Self(header.iter().copied().map(char::from).collect()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// How long a client that asks for so many seconds waits.
pub(crate) fn wait(seconds: Option<u64>) -> Duration {
    Duration::from_secs(seconds.unwrap_or(WAIT_SECONDS_DEFAULT).min(WAIT_SECONDS_MAX))
}

/// Only a message that arrives proves an address; this keeps out what cannot be one.
fn plausible_email(text: &str) -> bool {
    let allowed = |c: char| !c.is_control() && !c.is_whitespace() && c != '@';
    match text.split_once('@') {
        Some((local, domain)) => {
            text.len() <= EMAIL_CHARS_MAX
                && !local.is_empty()
                && !domain.is_empty()
                && local.chars().all(allowed)
                && domain.chars().all(allowed)
        }
        None => false,
    }
}

fn plain_text(text: &str, chars_max: usize) -> bool {
    !text.trim().is_empty()
        && text.chars().count() <= chars_max
        && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> CheckoutRequest {
        CheckoutRequest {
            expected_total: None,
            payment: None,
            email: "ann@example.com".into(),
            shipping_address: Address {
                name: "Ann".into(),
                line1: "Main Street 1".into(),
                line2: None,
                city: "Köln".into(),
                postal_code: "50667".into(),
                country: "DE".into(),
            },
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_and_where() {
        let mut bad = request();
        bad.email = "ann@exam@ple".into();
        bad.shipping_address.city = "a\0b".into();
        bad.shipping_address.line2 = Some(String::new());
        bad.shipping_address.country = "de".into();
        let Err(Error::Invalid(errors)) = bad.checked() else { panic!("it was accepted") };
        let pointers: Vec<_> = errors.iter().filter_map(|error| error.pointer.as_deref()).collect();
        assert_eq!(
            pointers,
            [
                "/email",
                "/shipping_address/line2",
                "/shipping_address/city",
                "/shipping_address/country"
            ]
        );
        assert!(request().checked().is_ok());
    }

    #[test]
    fn a_request_that_differs_anywhere_has_another_fingerprint() {
        let mut other = request();
        assert_eq!(other.fingerprint(), request().fingerprint());
        other.shipping_address.line2 = Some("2nd floor".into());
        assert_ne!(other.fingerprint(), request().fingerprint());
    }

    #[test]
    fn a_key_is_printable_ascii_of_bounded_length() {
        assert!(IdempotencyKey::parse(b"order 1 ~").is_ok());
        for bad in [&b""[..], &[b'a'; 256], "ä".as_bytes(), b"a\tb"] {
            assert!(IdempotencyKey::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn nobody_waits_longer_than_the_limit() {
        assert_eq!(wait(None), Duration::from_secs(2));
        assert_eq!(wait(Some(0)), Duration::ZERO);
        assert_eq!(wait(Some(u64::MAX)), Duration::from_secs(20));
    }
}
