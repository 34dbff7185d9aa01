//! Who is calling: signed tokens (JWT, HS256) that name a customer, made and read here.
//!
//! The algorithm is fixed, so a token cannot choose how it is checked. Nothing about a refused token
//! is told beyond that it was refused.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use domain::CustomerId;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;

const ISSUER: &str = "holdfast";
/// How long a guest keeps their cart and can see their orders.
const SESSION_DAYS: i64 = 30;
/// How far two machines' clocks may differ.
const LEEWAY_SECONDS: u64 = 60;
/// Fewer bytes than the digest is wide would weaken it.
const SECRET_BYTES_MIN: usize = 32;
/// Ours are about 250 characters; what is far longer is not worth reading.
const TOKEN_CHARS_MAX: usize = 2048;

/// The secret that signs tokens. It is never printed.
#[derive(Clone)]
pub struct JwtSecret(String);

impl std::fmt::Debug for JwtSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JwtSecret(..)")
    }
}

impl FromStr for JwtSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "the secret needs at least {SECRET_BYTES_MIN} bytes, such as from `openssl rand -hex 32`"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A customer and the token that speaks for them.
pub(crate) struct Session {
    pub(crate) customer_id: CustomerId,
    pub(crate) token: String,
    pub(crate) expires_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    iat: i64,
    exp: i64,
}

/// Makes and reads tokens.
pub(crate) struct Auth {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Auth {
    pub(crate) fn new(secret: &JwtSecret) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.validate_nbf = true;
        Self {
            encoding: EncodingKey::from_secret(secret.0.as_bytes()),
            decoding: DecodingKey::from_secret(secret.0.as_bytes()),
            validation,
        }
    }

    /// A new guest.
    pub(crate) fn open_session(&self) -> Session {
        let customer_id = CustomerId::from(Uuid::now_v7());
        let now = Utc::now();
        let expires_at = now + TimeDelta::days(SESSION_DAYS);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: customer_id.to_string(),
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .expect("an HMAC key signs anything");
        Session { customer_id, token, expires_at }
    }

    /// The customer that an `Authorization` header speaks for.
    pub(crate) fn caller(&self, authorization: Option<&str>) -> Result<CustomerId, Error> {
        let (scheme, token) = authorization
            .and_then(|header| header.split_once(' '))
            .ok_or(Error::Unauthenticated)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.len() > TOKEN_CHARS_MAX {
            return Err(Error::Unauthenticated);
        }
        jsonwebtoken::decode::<Claims>(token.trim(), &self.decoding, &self.validation)
            .ok()
            .and_then(|token| token.claims.sub.parse().ok())
            .ok_or(Error::Unauthenticated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn auth(secret: &str) -> Auth {
        Auth::new(&secret.parse().expect("long enough"))
    }

    fn signed(claims: &Claims, algorithm: Algorithm) -> String {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("signs");
        format!("Bearer {token}")
    }

    fn claims(expires_in_seconds: i64) -> Claims {
        let now = Utc::now().timestamp();
        let sub = CustomerId::from(Uuid::nil()).to_string();
        Claims { iss: ISSUER.into(), sub, iat: now, exp: now + expires_in_seconds }
    }

    #[test]
    fn a_session_speaks_for_its_customer_and_only_under_its_secret() {
        let session = auth(SECRET).open_session();
        let header = format!("Bearer {}", session.token);
        assert_eq!(auth(SECRET).caller(Some(&header)).ok(), Some(session.customer_id));
        assert!(auth("another secret that is long enough").caller(Some(&header)).is_err());
    }

    #[test]
    fn a_clock_may_be_a_minute_off_but_not_more() {
        assert!(auth(SECRET).caller(Some(&signed(&claims(-50), Algorithm::HS256))).is_ok());
        assert!(auth(SECRET).caller(Some(&signed(&claims(-70), Algorithm::HS256))).is_err());
    }

    #[test]
    fn another_algorithm_issuer_subject_or_scheme_is_refused() {
        let auth = auth(SECRET);
        assert!(auth.caller(Some(&signed(&claims(60), Algorithm::HS384))).is_err());
        assert!(
            auth.caller(Some(&signed(&Claims { iss: "x".into(), ..claims(60) }, Algorithm::HS256)))
                .is_err()
        );
        assert!(
            auth.caller(Some(&signed(&Claims { sub: "x".into(), ..claims(60) }, Algorithm::HS256)))
                .is_err()
        );
        let good = signed(&claims(60), Algorithm::HS256);
        assert!(auth.caller(Some(&good.replace("Bearer", "Basic"))).is_err());
        assert!(auth.caller(Some(good.trim_start_matches("Bearer "))).is_err());
        // The header and claims of a token that says it needs no signature.
        assert!(auth.caller(Some("Bearer eyJhbGciOiJub25lIn0.e30.")).is_err());
        assert!(auth.caller(None).is_err());
    }
}
