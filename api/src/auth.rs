//! Who is calling: signed tokens (JWT, HS256) that name a customer, made and read here.
//!
//! The algorithm is fixed, so a token cannot choose how it is checked. Nothing about a refused token
//! is told beyond that it was refused.

use std::{borrow::Cow, str::FromStr};

use chrono::{DateTime, TimeDelta, Utc};
use domain::CustomerId;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;

const ISSUER: &str = "holdfast";
/// The scope of those who run the shop.
const OPERATOR_SCOPE: &str = "operator";
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

/// Who runs the shop, as their doings are recorded: 1 to 64 small letters, digits and `.`, `_`, `-`, `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(String);

impl Operator {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Operator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-@".contains(&byte)
        };
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err("an operator's name is 1 to 64 small letters, digits and . _ - @".to_owned())
    }
}

/// A token for an operator, from now on for as long as a guest's.
pub fn operator_token(secret: &JwtSecret, operator: &Operator) -> String {
    Auth::new(secret).sign(operator.as_str().to_owned(), Some(OPERATOR_SCOPE)).0
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
    /// What the token is good for besides shopping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<Cow<'static, str>>,
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
        let (token, expires_at) = self.sign(customer_id.to_string(), None);
        Session { customer_id, token, expires_at }
    }

    fn sign(&self, sub: String, scope: Option<&'static str>) -> (String, DateTime<Utc>) {
        let now = Utc::now();
        let expires_at = now + TimeDelta::days(SESSION_DAYS);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub,
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
            scope: scope.map(Cow::Borrowed),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .expect("an HMAC key signs anything");
        (token, expires_at)
    }

    /// The customer that an `Authorization` header speaks for.
    pub(crate) fn caller(&self, authorization: Option<&str>) -> Result<CustomerId, Error> {
        self.claims(authorization)?.sub.parse().map_err(|_| Error::Unauthenticated)
    }

    /// The operator that an `Authorization` header speaks for. A customer's token is good, but not for
    /// this.
    pub(crate) fn operator(&self, authorization: Option<&str>) -> Result<Operator, Error> {
        let claims = self.claims(authorization)?;
        if claims.scope.as_deref() != Some(OPERATOR_SCOPE) {
            return Err(Error::Forbidden);
        }
        claims.sub.parse().map_err(|_| Error::Unauthenticated)
    }

    fn claims(&self, authorization: Option<&str>) -> Result<Claims, Error> {
        let (scheme, token) = authorization
            .and_then(|header| header.split_once(' '))
            .ok_or(Error::Unauthenticated)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.len() > TOKEN_CHARS_MAX {
            return Err(Error::Unauthenticated);
        }
        jsonwebtoken::decode(token.trim(), &self.decoding, &self.validation)
            .map(|token| token.claims)
            .map_err(|_| Error::Unauthenticated)
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
        Claims { iss: ISSUER.into(), sub, iat: now, exp: now + expires_in_seconds, scope: None }
    }

    #[test]
    fn a_session_speaks_for_its_customer_and_only_under_its_secret() {
        let session = auth(SECRET).open_session();
        let header = format!("Bearer {}", session.token);
        assert_eq!(auth(SECRET).caller(Some(&header)).ok(), Some(session.customer_id));
        assert!(auth("another secret that is long enough").caller(Some(&header)).is_err());
    }

    #[test]
    fn an_operators_token_names_them_and_a_customers_is_not_one() {
        let secret = SECRET.parse().expect("long enough");
        let ada: Operator = "ada".parse().expect("a name");
        let operator = format!("Bearer {}", operator_token(&secret, &ada));
        let customer = format!("Bearer {}", auth(SECRET).open_session().token);

        assert_eq!(auth(SECRET).operator(Some(&operator)).ok(), Some(ada));
        assert!(matches!(auth(SECRET).operator(Some(&customer)), Err(Error::Forbidden)));
        assert!(matches!(auth(SECRET).caller(Some(&operator)), Err(Error::Unauthenticated)));
        for name in ["", "Ada", "ada lovelace", &"a".repeat(65)] {
            assert!(name.parse::<Operator>().is_err(), "{name}");
        }
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
