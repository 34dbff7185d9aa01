//! What operators decided about checkouts that needed attention, by their names.

use domain::{CheckoutId, CustomerId};
use sqlx::PgConnection;

use crate::Error;

/// Whose checkout it is, if there is one.
pub async fn customer_of(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
) -> Result<Option<CustomerId>, Error> {
    let customer =
        sqlx::query_scalar!("SELECT customer_id FROM checkout WHERE id = $1", checkout_id.uuid())
            .fetch_optional(conn)
            .await?;
    Ok(customer.map(CustomerId::from))
}

/// Writes down what is about to be told a checkout. Its number.
pub async fn ask(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
    action: &str,
    actor: &str,
    reason: &str,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"
        INSERT INTO checkout_resolution (checkout_id, action, actor, reason)
        VALUES ($1, $2, $3, $4) RETURNING id
        "#,
        checkout_id.uuid(),
        action,
        actor,
        reason,
    )
    .fetch_one(conn)
    .await?)
}

/// Writes down that the checkout took it.
pub async fn mark_taken(conn: &mut PgConnection, id: i64) -> Result<(), Error> {
    sqlx::query!("UPDATE checkout_resolution SET taken_at = now() WHERE id = $1", id)
        .execute(conn)
        .await?;
    Ok(())
}
