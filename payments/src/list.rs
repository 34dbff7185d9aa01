//! Going through all intents of a time, as a reconciler does: a page at a time, newest first, strangers
//! included. What to make of a difference to our books is the caller's.

use domain::PaymentId;

use crate::{Doubt, Error, INTENT_PAGE, Intent, IntentId, Stripe, calls::INTENTS, wire};

/// A part of the intents of some time, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most [`INTENT_PAGE`] of them.
    pub intents: Vec<Listed>,
    /// Whether there are older ones.
    pub has_more: bool,
}

impl Page {
    /// What [`Stripe::list`] is to be given for the next page; `None` when this is the last.
    pub fn next_after(&self) -> Option<&IntentId> {
        self.intents.last().filter(|_| self.has_more).map(|last| &last.id)
    }
}

/// One intent on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The provider's id.
    pub id: IntentId,
    /// When it was made, in seconds since 1970.
    pub created_unix_s: i64,
    /// Whose it is.
    pub whose: Whose,
}

/// Whose an intent is, by what it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Ours.
    Ours(Intent),
    /// It carries our name for a payment and yet is none that this client makes: another amount than
    /// money can be, captured by itself, or without an attempt. Somebody has to look.
    Odd {
        /// The payment it names.
        payment: PaymentId,
        /// What is wrong with it.
        why: String,
    },
    /// Made by hand or by another system: it carries no name of ours.
    Foreign,
}

impl Stripe {
    /// A page of the intents that were made from `created_from_unix_s` on and before
    /// `created_to_unix_s`, both in seconds since 1970: the newest, or those that follow `after`.
    ///
    /// No single intent makes a page fail. Going on is safe while intents are made, for new ones come
    /// before the first page; a time that is past has only one answer.
    pub async fn list(
        &self,
        created_from_unix_s: i64,
        created_to_unix_s: i64,
        after: Option<&IntentId>,
    ) -> Result<Page, Error> {
        const CALL: &str = "list";
        let mut query = vec![
            ("created[gte]", created_from_unix_s.to_string()),
            ("created[lt]", created_to_unix_s.to_string()),
            ("limit", INTENT_PAGE.to_string()),
        ];
        if let Some(after) = after {
            query.push(("starting_after", after.to_string()));
        }
        let answer = self.get(CALL, INTENTS, &query, None).await?;
        let wire::Page { items: mut intents, has_more } =
            wire::listed(&answer.body).map_err(|why| self.unreadable(CALL, why))?;
        let mismatch = |what| Err(Error::unknown(CALL, Doubt::Mismatch(what)));
        let asked_for = created_from_unix_s..created_to_unix_s;
        if !intents.iter().all(|listed| asked_for.contains(&listed.created_unix_s)) {
            return mismatch("time");
        }
        // The last of a page is where the next begins, so in another order some would be left out.
        if !intents.is_sorted_by(|newer, older| newer.created_unix_s >= older.created_unix_s) {
            return mismatch("order");
        }
        for listed in &mut intents {
            if let Whose::Odd { why, .. } = &mut listed.whose {
                *why = self.scrub(why);
            }
        }
        Ok(Page { intents, has_more })
    }
}
