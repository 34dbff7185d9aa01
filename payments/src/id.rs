//! The provider's names for its objects. Each becomes part of a URL, a log line or a row, so only plain
//! characters pass.

use std::fmt;

/// The longest id, in characters.
const ID_CHARS_MAX: usize = 255;

/// An id of one kind, and the error of a text that is none.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $invalid:ident, $written:literal, $($prefix:literal)|+) => {
        #[doc = concat!("Why a text is no [`", stringify!($name), "`].")]
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[error("{} and up to {ID_CHARS_MAX} letters, digits and underscores", $written)]
        pub struct $invalid;

        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The id as the provider writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $invalid;

            fn try_from(text: String) -> Result<Self, $invalid> {
                if plain(&text, &[$($prefix),+]) { Ok(Self(text)) } else { Err($invalid) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// The provider's id of a `PaymentIntent`.
    IntentId, InvalidIntentId, "a PaymentIntent's id is `pi_`", "pi_"
}

id! {
    /// The provider's id of a refund. It begins otherwise when the money was not taken from a card.
    RefundId, InvalidRefundId, "a refund's id is `re_` or `pyr_`", "re_" | "pyr_"
}

id! {
    /// The provider's id of an event. An event that is delivered again has the same.
    EventId, InvalidEventId, "an event's id is `evt_`", "evt_"
}

fn plain(text: &str, prefixes: &[&str]) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let rest = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain))
        && text.len() <= ID_CHARS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_bend_a_url_is_refused() {
        for bad in ["", "pi_", "ch_1", "pi_1/capture", "pi_1?x", "pi_..", "pi_é", "pi_1\r\n"] {
            assert_eq!(IntentId::try_from(bad.to_owned()), Err(InvalidIntentId), "{bad:?}");
        }
        assert!(IntentId::try_from(format!("pi_{}", "1".repeat(300))).is_err());
        let good = IntentId::try_from("pi_3Mtw_abc".to_owned()).expect("a plain id");
        assert_eq!(good.to_string(), "pi_3Mtw_abc");
    }

    #[test]
    fn an_id_of_one_kind_is_none_of_another() {
        for good in ["re_1", "pyr_1"] {
            assert!(RefundId::try_from(good.to_owned()).is_ok());
            assert_eq!(EventId::try_from(good.to_owned()), Err(InvalidEventId));
        }
        assert!(EventId::try_from("evt_1".to_owned()).is_ok());
        assert_eq!(RefundId::try_from("pi_1".to_owned()), Err(InvalidRefundId));
    }
}
