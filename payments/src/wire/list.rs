//! Lists of intents in the provider's JSON, whoever made the intents.

use serde::Deserialize;
use serde_json::Value;

use super::{RawIntent, Unreadable, expect_object, page};
use crate::{Intent, Listed, Page, Whose};

/// Any intent, of which nothing is known yet.
#[derive(Deserialize)]
#[serde(transparent)]
struct RawListed(Value);

/// As much as any intent has.
#[derive(Deserialize)]
struct RawName {
    object: String,
    id: String,
    created: i64,
}

pub(crate) fn listed(body: &[u8]) -> Result<Page<Listed>, Unreadable> {
    page::<RawListed, Listed>(body)
}

impl TryFrom<RawListed> for Listed {
    type Error = Unreadable;

    fn try_from(RawListed(value): RawListed) -> Result<Self, Unreadable> {
        let raw = RawName::deserialize(&value).map_err(Unreadable::because)?;
        expect_object(&raw.object, "payment_intent")?;
        Ok(Self {
            id: raw.id.try_into().map_err(Unreadable::because)?,
            created_unix_s: raw.created,
            whose: whose(value),
        })
    }
}

fn whose(value: Value) -> Whose {
    let name = value.pointer("/metadata/payment_id").and_then(Value::as_str);
    let Some(payment) = name.and_then(|name| name.parse().ok()) else {
        return Whose::Foreign;
    };
    let raw = RawIntent::deserialize(value).map_err(Unreadable::because);
    match raw.and_then(Intent::try_from) {
        Ok(intent) => Whose::Ours(intent),
        Err(Unreadable(why)) => Whose::Odd { payment, why },
    }
}
