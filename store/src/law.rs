//! The laws of the shop, each one SQL statement that finds what breaks it.
//!
//! They are the same for tests, for chaos and for the operator. One statement sees one snapshot, so
//! a law can be checked on a live system without a lock.

use serde::Serialize;
use sqlx::PgConnection;

use crate::Error;

/// When a law holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At every moment.
    Always,
    /// Once every checkout has ended.
    Quiet,
}

/// A law and the query for its breaches, whose one column names each.
#[derive(Debug, Clone, Copy)]
pub struct Law {
    /// What is claimed.
    pub claim: &'static str,
    /// When.
    pub when: When,
    sql: &'static str,
}

/// A broken law.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breach {
    /// The law.
    pub claim: &'static str,
    /// What breaks it; at most the first ten.
    pub examples: Vec<String>,
}

/// The law of the stock alone, for a database that holds nothing else.
pub const STOCK: Law = Law {
    claim: "every counter of stock equals its ledgers",
    when: When::Always,
    sql: "
        WITH held AS (
            SELECT u.sku, sum(u.quantity) FILTER (WHERE state = 'held') AS reserved,
                sum(u.quantity) FILTER (WHERE state = 'committed') AS sold
            FROM reservation, unnest(skus, quantities) AS u (sku, quantity) GROUP BY u.sku
        ), booked AS (SELECT sku, sum(delta) AS received FROM receipt GROUP BY sku)
        SELECT sku FROM inventory i FULL JOIN held h USING (sku) FULL JOIN booked b USING (sku)
        WHERE i.sku IS NULL
            OR i.available < 0
            OR i.received <> coalesce(b.received, 0)
            OR i.reserved <> coalesce(h.reserved, 0)
            OR i.sold <> coalesce(h.sold, 0)
            OR i.received <> i.available + i.reserved + i.sold",
};

/// Every law.
pub const LAWS: &[Law] = &[
    STOCK,
    Law {
        claim: "an order is paid exactly if its checkout completed",
        when: When::Always,
        sql: "
            SELECT id::text FROM checkout c FULL JOIN (SELECT id, state FROM customer_order) o USING (id)
            WHERE (coalesce(o.state, '') IN ('paid', 'shipped', 'delivered', 'refunded'))
                <> (coalesce(c.state, '') = 'completed')",
    },
    Law {
        claim: "stock is sold only for a paid order, and a paid order's stock is held until it is sold",
        when: When::Always,
        sql: "
            SELECT id::text FROM (SELECT id, state FROM customer_order) o
                FULL JOIN (SELECT checkout_id AS id, state FROM reservation) r USING (id)
            WHERE CASE WHEN coalesce(o.state, '') IN ('paid', 'shipped', 'delivered', 'refunded')
                THEN coalesce(r.state, '') NOT IN ('held', 'committed')
                ELSE coalesce(r.state, '') = 'committed' END",
    },
    Law {
        claim: "a paid order has been paid its total, and no other order has been paid anything",
        when: When::Quiet,
        sql: "
            SELECT o.id::text FROM customer_order o LEFT JOIN payment p USING (id)
            WHERE coalesce(p.captured_minor - p.refunded_minor, 0)
                <> CASE WHEN o.state IN ('paid', 'shipped', 'delivered') THEN o.total_minor ELSE 0 END",
    },
    Law {
        claim: "a payment's sums equal its ledger",
        when: When::Always,
        sql: "
            SELECT p.id::text FROM payment p LEFT JOIN LATERAL (
                SELECT coalesce(sum(amount_minor) FILTER (WHERE kind = 'authorized'), 0) AS authorized,
                    coalesce(sum(amount_minor) FILTER (WHERE kind = 'captured'), 0) AS captured,
                    coalesce(sum(amount_minor) FILTER (WHERE kind = 'voided'), 0) AS voided,
                    coalesce(sum(amount_minor) FILTER (WHERE kind = 'refunded'), 0) AS refunded
                FROM payment_entry e WHERE e.payment_id = p.id
            ) e ON true
            WHERE (p.authorized_minor, p.captured_minor, p.voided_minor, p.refunded_minor)
                <> (e.authorized, e.captured, e.voided, e.refunded)",
    },
    Law {
        claim: "no money stays set aside for an order that is over",
        when: When::Always,
        sql: "
            SELECT o.id::text FROM customer_order o JOIN payment p USING (id)
            WHERE o.state <> 'pending' AND o.state <> 'placed'
                AND p.authorized_minor - p.voided_minor - p.captured_minor <> 0",
    },
    Law {
        claim: "an order's total is the sum of its lines",
        when: When::Always,
        sql: "
            SELECT o.id::text FROM customer_order o LEFT JOIN LATERAL (
                SELECT coalesce(sum(quantity * unit_price_minor), 0) AS total
                FROM order_line l WHERE l.order_id = o.id
            ) l ON true
            WHERE o.total_minor <> l.total",
    },
    Law {
        claim: "as many events went out as orders were paid",
        when: When::Always,
        sql: "
            SELECT 'orders paid and events written differ' WHERE
                (SELECT count(*) FROM customer_order WHERE state IN ('paid', 'shipped', 'delivered', 'refunded'))
                <> (SELECT count(*) FROM outbox WHERE topic = 'order.paid')",
    },
    Law {
        claim: "no event waits in the outbox for longer than five minutes",
        when: When::Always,
        sql: "
            SELECT topic || ' ' || cause FROM outbox
            WHERE carried_at IS NULL AND created_at < now() - interval '5 minutes'",
    },
    Law {
        claim: "an order's events are numbered without a gap",
        when: When::Always,
        sql: "
            SELECT order_id::text FROM order_event GROUP BY order_id
            HAVING count(*) <> max(seq) OR min(seq) <> 1",
    },
    Law {
        claim: "no cart is locked by a checkout that is over",
        when: When::Always,
        sql: "
            SELECT k.customer_id::text FROM cart k JOIN checkout c ON c.id = k.checkout_id
            WHERE c.finished_at IS NOT NULL",
    },
    Law {
        claim: "no checkout that opened an order is left unfinished, and no stock is left held",
        when: When::Quiet,
        sql: "
            SELECT o.id::text FROM customer_order o JOIN checkout c USING (id) WHERE c.finished_at IS NULL
            UNION SELECT checkout_id::text FROM reservation WHERE state = 'held'",
    },
];

/// The laws of the given kind that are broken; those that hold always are in both kinds.
pub async fn breaches(conn: &mut PgConnection, when: When) -> Result<Vec<Breach>, Error> {
    let mut breaches = Vec::new();
    for law in LAWS.iter().filter(|law| when == When::Quiet || law.when == When::Always) {
        breaches.extend(law.check(conn).await?);
    }
    Ok(breaches)
}

impl Law {
    /// What breaks it now, if anything does.
    pub async fn check(&self, conn: &mut PgConnection) -> Result<Option<Breach>, Error> {
        // Not compile-time checked: the statements are data here, and every test runs all of them.
        let mut examples: Vec<String> = sqlx::query_scalar(self.sql).fetch_all(conn).await?;
        if examples.is_empty() {
            return Ok(None);
        }
        examples.truncate(10);
        Ok(Some(Breach { claim: self.claim, examples }))
    }
}
