//! The laws of the shop, each one SQL statement that finds what breaks it.
//!
//! They are the same for tests, for chaos and for the operator. One statement sees one snapshot, so
//! a law can be checked on a live system without a lock; the one law between two databases looks at
//! them in an order that makes up for it.

use domain::Sku;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{Error, inventory::Shards, said};

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

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// How many laws were checked; those of the stock once for each of its databases.
    pub checked: usize,
    /// Those that are broken.
    pub breaches: Vec<Breach>,
    /// What could not be audited, since its database does not answer.
    pub unreachable: Vec<String>,
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

/// The law of the sums beside each payment's ledger; it finds the payments by their bare ids.
pub const SUMS: Law = Law {
    claim: "a payment's sums equal its ledger",
    when: When::Always,
    sql: "
        SELECT p.id::text FROM payment p LEFT JOIN LATERAL (
            SELECT coalesce(sum(amount_minor) FILTER (WHERE kind = 'authorized'), 0) AS authorized,
                coalesce(sum(amount_minor) FILTER (WHERE kind = 'captured'), 0) AS captured,
                coalesce(sum(amount_minor) FILTER (WHERE kind = 'voided'), 0) AS voided,
                coalesce(sum(amount_minor) FILTER (WHERE kind = 'refunded'), 0) AS refunded,
                coalesce(sum(amount_minor) FILTER (WHERE kind = 'refund_failed'), 0) AS refund_failed
            FROM payment_entry e WHERE e.payment_id = p.id
        ) e ON true
        WHERE (p.authorized_minor, p.captured_minor, p.voided_minor, p.refunded_minor, p.refund_failed_minor)
            <> (e.authorized, e.captured, e.voided, e.refunded, e.refund_failed)",
};

/// The laws of each database of the stock.
const STOCK_LAWS: &[Law] = &[
    STOCK,
    Law {
        claim: "no stock is left held",
        when: When::Quiet,
        sql: "SELECT checkout_id::text FROM reservation WHERE state = 'held'",
    },
];

/// The laws of the shop's own database.
const LAWS: &[Law] = &[
    Law {
        claim: "an order is paid exactly if its checkout completed",
        when: When::Always,
        sql: "
            SELECT id::text FROM checkout c FULL JOIN (SELECT id, state FROM customer_order) o USING (id)
            WHERE (coalesce(o.state, '') IN ('paid', 'partially_shipped', 'shipped', 'delivered', 'refunded'))
                <> (coalesce(c.state, '') = 'completed')",
    },
    Law {
        claim: "a sold order has been paid its total less what went back, and any other only what was paid back in vain",
        when: When::Quiet,
        sql: "
            SELECT o.id::text FROM customer_order o LEFT JOIN payment p USING (id) LEFT JOIN LATERAL (
                SELECT coalesce(sum(amount_minor), 0) AS given_back
                FROM refund r WHERE r.payment_id = o.id AND r.state IN ('pending', 'succeeded')
            ) r ON true
            WHERE coalesce(p.captured_minor - p.refunded_minor + p.refund_failed_minor, 0)
                <> CASE WHEN o.state IN ('paid', 'partially_shipped', 'shipped', 'delivered', 'refunded')
                    THEN o.total_minor - r.given_back ELSE coalesce(p.refund_failed_minor, 0) END",
    },
    Law {
        claim: "a refunded order has nothing left, unless a refund of it came back",
        when: When::Always,
        sql: "
            SELECT o.id::text FROM customer_order o LEFT JOIN payment p USING (id)
            WHERE o.state = 'refunded'
                AND (p.captured_minor - p.refunded_minor + p.refund_failed_minor = 0) IS NOT TRUE
                AND NOT EXISTS (SELECT FROM refund r WHERE r.payment_id = o.id AND r.state = 'failed')",
    },
    Law {
        claim: "what is set aside to be paid back is what was asked for and not made",
        when: When::Always,
        sql: "
            SELECT p.id::text FROM payment p LEFT JOIN LATERAL (
                SELECT coalesce(sum(amount_minor), 0) AS asked
                FROM refund r WHERE r.payment_id = p.id AND r.state = 'requested'
            ) r ON true
            WHERE p.refunding_minor <> r.asked",
    },
    Law {
        claim: "no refund waits longer than a day to be made",
        when: When::Always,
        sql: "
            SELECT id::text FROM refund
            WHERE state = 'requested' AND created_at < now() - interval '1 day'",
    },
    Law {
        claim: "as many refunds were asked for, and came to nothing, as events say",
        when: When::Always,
        sql: "
            SELECT 'refunds and events written differ' FROM (
                SELECT count(*) AS asked, count(*) FILTER (WHERE state IN ('failed', 'refused')) AS undone
                FROM refund
            ) r, (
                SELECT count(*) FILTER (WHERE topic = 'refund.requested') AS asked,
                    count(*) FILTER (WHERE topic = 'refund.failed') AS undone
                FROM outbox
            ) e
            WHERE (r.asked, r.undone) <> (e.asked, e.undone)",
    },
    Law {
        claim: "every line was restocked as often as is written down",
        when: When::Always,
        sql: "
            SELECT l.order_id::text || ' ' || l.sku FROM order_line l LEFT JOIN LATERAL (
                SELECT coalesce(sum(quantity), 0) AS restocked
                FROM restock r WHERE r.order_id = l.order_id AND r.sku = l.sku
            ) r ON true
            WHERE l.restocked <> r.restocked",
    },
    SUMS,
    Law {
        claim: "no money stays set aside for an order that is over",
        when: When::Quiet,
        sql: "
            SELECT o.id::text FROM customer_order o JOIN payment p USING (id)
            WHERE o.state <> 'pending' AND o.state <> 'placed'
                AND p.authorized_minor - p.voided_minor - p.captured_minor <> 0",
    },
    Law {
        claim: "no money stays set aside for longer than five minutes for an order that is over",
        when: When::Always,
        sql: "
            SELECT o.id::text FROM customer_order o JOIN payment p USING (id)
            WHERE o.state <> 'pending' AND o.state <> 'placed'
                AND p.authorized_minor - p.voided_minor - p.captured_minor <> 0
                AND NOT EXISTS (
                    SELECT FROM payment_entry e
                    WHERE e.payment_id = o.id AND e.kind = 'authorized' AND e.at > now() - interval '5 minutes'
                )",
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
                (SELECT count(*) FROM customer_order WHERE state IN ('paid', 'partially_shipped', 'shipped', 'delivered', 'refunded'))
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
        claim: "nothing waits in the inbox for longer than five minutes after its checkout is over",
        when: When::Always,
        sql: "
            SELECT i.provider || ' ' || i.event_id FROM inbox i JOIN checkout c ON c.id = i.payment_id
            WHERE i.carried_at IS NULL
                AND greatest(i.received_at, c.finished_at) < now() - interval '5 minutes'
                AND c.finished_at IS NOT NULL",
    },
    Law {
        claim: "an order's state is what its shipments say, unless its money goes back",
        when: When::Always,
        sql: "
            SELECT o.id::text FROM customer_order o
                LEFT JOIN LATERAL (
                    SELECT coalesce(sum(l.quantity), 0) AS units,
                        coalesce(sum(l.quantity) FILTER (WHERE s.state IN ('dispatched', 'delivered')), 0) AS dispatched,
                        coalesce(sum(l.quantity) FILTER (WHERE s.state = 'delivered'), 0) AS delivered
                    FROM shipment s JOIN shipment_line l ON l.shipment_id = s.id
                    WHERE s.order_id = o.id AND s.state <> 'cancelled'
                ) s ON true
                LEFT JOIN LATERAL (
                    SELECT coalesce(sum(quantity), 0) AS units FROM order_line l WHERE l.order_id = o.id
                ) l ON true
            WHERE CASE
                WHEN o.state IN ('pending', 'placed', 'cancelled') THEN s.units > 0
                WHEN o.state = 'refunded' OR o.called_off_at IS NOT NULL THEN false
                ELSE o.state <> CASE
                    WHEN s.dispatched = 0 THEN 'paid'
                    WHEN s.delivered >= l.units THEN 'delivered'
                    WHEN s.dispatched >= l.units THEN 'shipped'
                    ELSE 'partially_shipped'
                END
            END",
    },
    Law {
        claim: "no line is shipped more than it was ordered",
        when: When::Always,
        sql: "
            SELECT l.order_id::text || ' ' || l.sku FROM order_line l LEFT JOIN LATERAL (
                SELECT coalesce(sum(p.quantity), 0) AS units
                FROM shipment_line p JOIN shipment s ON s.id = p.shipment_id
                WHERE p.order_id = l.order_id AND p.sku = l.sku AND s.state <> 'cancelled'
            ) p ON true
            WHERE l.shipped_quantity <> p.units OR l.shipped_quantity > l.quantity",
    },
    Law {
        claim: "no carrier's event waits to be told for longer than five minutes",
        when: When::Always,
        sql: "
            SELECT carrier || ' ' || event_id FROM carrier_event_waiting
            WHERE since < now() - interval '5 minutes'",
    },
    Law {
        claim: "no event waits to be given out for longer than five minutes",
        when: When::Always,
        sql: "
            SELECT topic || ' ' || cause FROM announcement a JOIN outbox o ON o.id = a.event_id
            WHERE created_at < now() - interval '5 minutes'",
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
        claim: "no checkout that opened an order is left unfinished",
        when: When::Quiet,
        sql: "SELECT o.id::text FROM customer_order o JOIN checkout c USING (id) WHERE c.finished_at IS NULL",
    },
];

/// The law between the orders and their stock, which may live apart.
const SOLD: &str =
    "stock is sold only for a paid order, and a paid order's stock is held until it is sold";

/// How many rows are compared at once between two databases.
const PAGE: i64 = 10_000;
const EXAMPLES_MAX: usize = 10;

/// Checks every law of the given kind on the living system; those that hold always are in both kinds.
/// A database of the stock that does not answer is named, and the others are audited.
pub async fn audit(shop: &PgPool, shards: &Shards, when: When) -> Result<Audit, Error> {
    let mut audit = Audit::default();
    let mut conn = shop.acquire().await?;
    audit.check(&mut conn, LAWS, when).await?;
    for part in shards.parts() {
        let audited = async {
            let mut stock = shards.acquire(part).await?;
            audit.check(&mut stock, STOCK_LAWS, when).await?;
            sold(&mut conn, &mut stock, |sku| shards.part_of(sku) == part).await
        };
        match audited.await {
            Ok(examples) => audit.note(SOLD, examples),
            Err(error) if error.transient() && part.of_several() => {
                tracing::warn!(error = said(&error), "{} cannot be audited", part.name());
                audit.unreachable.push(part.name());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(audit)
}

impl Audit {
    async fn check(
        &mut self,
        conn: &mut PgConnection,
        laws: &'static [Law],
        when: When,
    ) -> Result<(), Error> {
        for law in laws.iter().filter(|law| when == When::Quiet || law.when == When::Always) {
            self.note(law.claim, law.broken_by(conn).await?);
        }
        Ok(())
    }

    fn note(&mut self, claim: &'static str, mut examples: Vec<String>) {
        self.checked += 1;
        if !examples.is_empty() {
            examples.truncate(EXAMPLES_MAX);
            self.breaches.push(Breach { claim, examples });
        }
    }
}

impl Law {
    /// What breaks it now.
    pub async fn broken_by(&self, conn: &mut PgConnection) -> Result<Vec<String>, Error> {
        // Not compile-time checked: the statements are data here, and every test runs all of them.
        Ok(sqlx::query_scalar(self.sql).fetch_all(conn).await?)
    }
}

/// What breaks [`SOLD`] in one database of the stock. Two databases show two moments, so it matters
/// which is looked at first: an order is paid before its stock is sold, and its stock is held before it
/// is paid and stays so until it is sold. Neither is ever taken back.
async fn sold(
    shop: &mut PgConnection,
    stock: &mut PgConnection,
    kept_here: impl Fn(&Sku) -> bool,
) -> Result<Vec<String>, Error> {
    let mut examples = Vec::new();
    let mut after = Uuid::nil();
    loop {
        let sold = sqlx::query_scalar!(
            r#"
            SELECT checkout_id FROM reservation WHERE state = 'committed' AND checkout_id > $1
            ORDER BY checkout_id LIMIT $2
            "#,
            after,
            PAGE,
        )
        .fetch_all(&mut *stock)
        .await?;
        let Some(last) = sold.last() else { break };
        after = *last;
        examples.extend(
            sqlx::query_scalar!(
                r#"
                SELECT s.id::text AS "id!" FROM unnest($1::uuid[]) AS s (id)
                WHERE NOT EXISTS (
                    SELECT FROM customer_order o
                    WHERE o.id = s.id AND o.state IN ('paid', 'partially_shipped', 'shipped', 'delivered', 'refunded')
                )
                "#,
                &sold,
            )
            .fetch_all(&mut *shop)
            .await?,
        );
    }
    let mut after = Uuid::nil();
    loop {
        let paid = sqlx::query!(
            r#"
            SELECT o.id, array_agg(l.sku) AS "skus!"
            FROM (
                SELECT id FROM customer_order
                WHERE state IN ('paid', 'partially_shipped', 'shipped', 'delivered', 'refunded') AND id > $1
                ORDER BY id LIMIT $2
            ) o JOIN order_line l ON l.order_id = o.id
            GROUP BY o.id ORDER BY o.id
            "#,
            after,
            PAGE,
        )
        .fetch_all(&mut *shop)
        .await?;
        let Some(last) = paid.last() else { break };
        after = last.id;
        let mut here = Vec::new();
        for order in paid {
            let skus = order.skus.into_iter().map(Sku::try_from).collect::<Result<Vec<_>, _>>();
            let skus = skus.map_err(|_| Error::corrupt("order_line", "sku"))?;
            if skus.iter().any(&kept_here) {
                here.push(order.id);
            }
        }
        examples.extend(
            sqlx::query_scalar!(
                r#"
                SELECT p.id::text AS "id!" FROM unnest($1::uuid[]) AS p (id)
                WHERE NOT EXISTS (
                    SELECT FROM reservation r
                    WHERE r.checkout_id = p.id AND r.state IN ('held', 'committed')
                )
                "#,
                &here,
            )
            .fetch_all(&mut *stock)
            .await?,
        );
    }
    Ok(examples)
}
