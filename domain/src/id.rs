//! Identifiers: a UUID that knows what it identifies, written as a prefix and 26 base32 characters.
//!
//! A checkout, its order, its payment and its reservation share one UUID, so `chk_<x>`, `ord_<x>` and
//! `pay_<x>` differ in the prefix alone and one search for `<x>` finds the whole story.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Crockford's alphabet in lower case: no i, l, o or u to misread.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 26 characters of 5 bits hold 130 bits, two more than a UUID.
const ENCODED_CHARS: usize = 26;

/// Why a text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier of the form {prefix}_ and {ENCODED_CHARS} base32 characters")]
pub struct ParseIdError {
    /// The prefix that was expected.
    pub prefix: &'static str,
}

fn encode(uuid: Uuid) -> String {
    let bits = uuid.as_u128();
    (0..ENCODED_CHARS)
        .rev()
        .map(|place| {
            char::from(
                ALPHABET[usize::try_from((bits >> (place * 5)) & 31).expect("five bits fit")],
            )
        })
        .collect()
}

fn decode(text: &str) -> Option<Uuid> {
    // The first character carries the top three bits only; anything above `7` would overflow.
    if text.len() != ENCODED_CHARS || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes()
        .try_fold(0_u128, |bits, byte| {
            let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
            Some((bits << 5) | digit as u128)
        })
        .map(Uuid::from_u128)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// What the written form begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// The bare UUID, as the database keeps it.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(Self)
                    .ok_or(ParseIdError { prefix: $prefix })
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

id!(
    /// One attempt to buy one cart; also the id of the workflow that carries it out.
    CheckoutId,
    "chk"
);
id!(
    /// The durable record of a sale; shares its UUID with the checkout that made it.
    OrderId,
    "ord"
);
id!(
    /// The money side of a checkout; shares its UUID with the checkout.
    PaymentId,
    "pay"
);
id!(
    /// Money on its way back after a sale; also the id of the workflow that sees to it.
    RefundId,
    "ref"
);
id!(
    /// A customer, guest or known. Opaque: it carries no personal data.
    CustomerId,
    "cus"
);
id!(
    /// Something that happened, as others are told of it.
    EventId,
    "evt"
);
id!(
    /// Where an operator wants to be told of events.
    WebhookEndpointId,
    "whe"
);
id!(
    /// One event on its way to one of those who listen.
    DeliveryId,
    "dlv"
);

id!(
    /// A difference between our books and others', and the facts it was found with.
    CaseId,
    "case"
);

impl CaseId {
    /// The name of a difference and its facts, the same however often they are found.
    pub fn derive(difference: &str, subject: &str, facts: &str) -> Self {
        let name = format!("{difference} {subject} {facts}");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
    }
}

impl EventId {
    /// The name of what happened to `cause`, the same whoever makes it and however often. The outbox
    /// holds each topic and cause once, so no two events share a name.
    pub fn derive(topic: &str, cause: &str) -> Self {
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{topic} {cause}").as_bytes()))
    }
}

id!(
    /// One parcel of an order.
    ShipmentId,
    "shp"
);

impl CheckoutId {
    /// Derives the checkout's identity from who asks and the `Idempotency-Key` they ask with, so a
    /// retried request names the same checkout without any look-up.
    pub fn derive(customer: CustomerId, idempotency_key: &str) -> Self {
        Self(Uuid::new_v5(&customer.uuid(), idempotency_key.as_bytes()))
    }

    /// The order that this checkout makes.
    pub const fn order(self) -> OrderId {
        OrderId(self.0)
    }

    /// The payment that this checkout makes.
    pub const fn payment(self) -> PaymentId {
        PaymentId(self.0)
    }
}

impl OrderId {
    /// The checkout that made this order.
    pub const fn checkout(self) -> CheckoutId {
        CheckoutId(self.0)
    }

    /// The payment of this order.
    pub const fn payment(self) -> PaymentId {
        PaymentId(self.0)
    }
}

impl RefundId {
    /// Derives the refund's identity from the order and what whoever asks calls it, so a request that is
    /// sent again names the same refund without any look-up.
    pub fn derive(order: OrderId, reference: &str) -> Self {
        Self(Uuid::new_v5(&order.uuid(), reference.as_bytes()))
    }
}

impl PaymentId {
    /// The checkout that made this payment.
    pub const fn checkout(self) -> CheckoutId {
        CheckoutId(self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_id_reads_back_as_it_was_written(bits: u128) {
            let id = CheckoutId::from(Uuid::from_u128(bits));
            prop_assert_eq!(id.to_string().parse::<CheckoutId>(), Ok(id));
            prop_assert_eq!(id.to_string().len(), "chk_".len() + ENCODED_CHARS);
        }
    }

    #[test]
    fn the_written_form_follows_the_typeid_convention() {
        let uuid = Uuid::parse_str("01890a5d-ac96-774b-bcce-b302099a8057").expect("a valid UUID");
        assert_eq!(OrderId::from(uuid).to_string(), "ord_01h455vb4pex5vsknk084sn02q");
    }

    #[test]
    fn a_foreign_prefix_an_overflow_or_a_stray_letter_is_refused() {
        let good = CheckoutId::from(Uuid::from_u128(7)).to_string();
        assert!(good.replace("chk", "ord").parse::<CheckoutId>().is_err());
        assert!(format!("chk_8{}", "0".repeat(25)).parse::<CheckoutId>().is_err());
        assert!(format!("chk_{}l", "0".repeat(25)).parse::<CheckoutId>().is_err());
        assert!("chk_".parse::<CheckoutId>().is_err());
    }

    #[test]
    fn one_customer_and_key_always_name_one_checkout() {
        let (ann, bob) =
            (CustomerId::from(Uuid::from_u128(1)), CustomerId::from(Uuid::from_u128(2)));
        assert_eq!(CheckoutId::derive(ann, "k"), CheckoutId::derive(ann, "k"));
        assert_ne!(CheckoutId::derive(ann, "k"), CheckoutId::derive(bob, "k"));
        assert_ne!(CheckoutId::derive(ann, "k"), CheckoutId::derive(ann, "l"));
    }

    #[test]
    fn one_order_and_reference_always_name_one_refund() {
        let (one, other) = (OrderId::from(Uuid::from_u128(1)), OrderId::from(Uuid::from_u128(2)));
        assert_eq!(RefundId::derive(one, "r"), RefundId::derive(one, "r"));
        assert_ne!(RefundId::derive(one, "r"), RefundId::derive(other, "r"));
        assert_ne!(RefundId::derive(one, "r"), RefundId::derive(one, "s"));
    }
}
