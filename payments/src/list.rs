//! Going through all intents or refunds of a time, as a reconciler does: a page at a time, newest first,
//! strangers included. What to make of a difference to our books is the caller's.

use std::ops::Range;

use domain::PaymentId;

use crate::{
    Doubt, Error, INTENT_PAGE, Intent, IntentId, REFUND_PAGE, RefundId, Stripe, calls::INTENTS,
    refund::REFUNDS, wire,
};

/// A part of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most [`INTENT_PAGE`] intents, or [`REFUND_PAGE`] refunds.
    pub items: Vec<T>,
    /// Whether there are older ones.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// The one that the next page comes after; `None` when this is the last page.
    pub fn next_after(&self) -> Option<&T> {
        self.items.last().filter(|_| self.has_more)
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

/// One refund on a page, whoever made it and whatever it pays back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRefund {
    /// The provider's id.
    pub id: RefundId,
    /// When it was made, in seconds since 1970.
    pub created_unix_s: i64,
    /// The intent it pays back; `None` where it pays back something else.
    pub intent: Option<IntentId>,
    /// How much, in minor units of its currency.
    pub amount_minor: i64,
    /// The provider's name of the currency, in lower case.
    pub currency: String,
    /// Whether it failed or was called off, so that no money has gone.
    pub undone: bool,
    /// What its maker called it, if anything.
    pub reference: Option<String>,
}

impl Stripe {
    /// A page of the intents that were made in a time, in seconds since 1970: the newest, or those that
    /// follow `after`.
    ///
    /// No single intent makes a page fail. Going on is safe while intents are made, for new ones come
    /// before the first page; a time that is past has only one answer.
    pub async fn list(
        &self,
        created_unix_s: Range<i64>,
        after: Option<&IntentId>,
    ) -> Result<Page<Listed>, Error> {
        const CALL: &str = "list";
        let query = query(&created_unix_s, INTENT_PAGE, after.map(ToString::to_string));
        let answer = self.get(CALL, INTENTS, &query, None).await?;
        let mut page = wire::listed(&answer.body).map_err(|why| self.unreadable(CALL, why))?;
        held_to(CALL, &created_unix_s, &page, |listed| listed.created_unix_s)?;
        for listed in &mut page.items {
            if let Whose::Odd { why, .. } = &mut listed.whose {
                *why = self.scrub(why);
            }
        }
        Ok(page)
    }

    /// A page of the refunds that were made in a time, in seconds since 1970: the newest, or those that
    /// follow `after`. As with [`Stripe::list`], none makes a page fail.
    pub async fn list_refunds(
        &self,
        created_unix_s: Range<i64>,
        after: Option<&RefundId>,
    ) -> Result<Page<ListedRefund>, Error> {
        const CALL: &str = "list refunds";
        let query = query(&created_unix_s, REFUND_PAGE, after.map(ToString::to_string));
        let answer = self.get(CALL, REFUNDS, &query, None).await?;
        let page = wire::listed_refunds(&answer.body).map_err(|why| self.unreadable(CALL, why))?;
        held_to(CALL, &created_unix_s, &page, |listed| listed.created_unix_s)?;
        Ok(page)
    }
}

fn query(
    created_unix_s: &Range<i64>,
    limit: usize,
    after: Option<String>,
) -> Vec<(&'static str, String)> {
    let mut query = vec![
        ("created[gte]", created_unix_s.start.to_string()),
        ("created[lt]", created_unix_s.end.to_string()),
        ("limit", limit.to_string()),
    ];
    query.extend(after.map(|after| ("starting_after", after)));
    query
}

/// Refuses a page that is not of the time that was asked for, or not in its order.
fn held_to<T>(
    call: &'static str,
    asked_for: &Range<i64>,
    page: &Page<T>,
    created_unix_s: impl Fn(&T) -> i64,
) -> Result<(), Error> {
    let mismatch = |what| Err(Error::unknown(call, Doubt::Mismatch(what)));
    if !page.items.iter().all(|item| asked_for.contains(&created_unix_s(item))) {
        return mismatch("time");
    }
    // The last of a page is where the next begins, so in another order some would be left out.
    if !page.items.is_sorted_by(|newer, older| created_unix_s(newer) >= created_unix_s(older)) {
        return mismatch("order");
    }
    Ok(())
}
