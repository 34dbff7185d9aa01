//! What `cargo xtask dev` shows once everything runs: where things are, and three lines that buy something.

use std::time::Duration;

use anyhow::{Context, bail};
use devstack::{devstack_directory, disk_use};
use domain::{CheckoutId, CustomerId};
use serde_json::Value;

use crate::{cargo, dev::Settings, http, ports::Ports, stack::Stack};

pub(crate) async fn print(
    ports: &Ports,
    settings: &Settings,
    stack: &Stack,
    operator: &str,
    took: Duration,
) -> anyhow::Result<()> {
    let api = format!("http://127.0.0.1:{}", ports.api_port);
    println!();
    println!("API            {api}");
    println!("API's docs     {api}/docs");
    if let Some(ui) = stack.temporal.as_ref().and_then(devstack::Temporal::ui_url) {
        println!("Temporal's UI  {ui}");
    }
    println!("Temporal       {}", settings.temporal_address);
    if let Some(postgres) = &stack.postgres {
        println!("PostgreSQL     {}", postgres.database_url("holdfast"));
    }
    println!("paysim         http://127.0.0.1:{}/ledger", ports.paysim_port);
    println!("logs           {}", devstack_directory().join("log").display());
    println!();
    print_purchase(ports, &api, operator).await?;
    println!(
        "up in {:.1} s; on disk {} MB of servers and data in .devstack, {} MB of builds in target",
        took.as_secs_f64(),
        megabytes(disk_use(&devstack_directory())),
        megabytes(disk_use(&cargo::target_directory()?)),
    );
    println!("Ctrl-C stops everything");
    Ok(())
}

/// A guest's token, and lines for a shell that fill a cart, check it out and show what became of it; and
/// the same for an operator, who looks at the books.
async fn print_purchase(ports: &Ports, api: &str, operator: &str) -> anyhow::Result<()> {
    let answer = http::request("POST", ports.api_port, "/v1/sessions").await?;
    if !answer.good() {
        bail!("POST /v1/sessions was answered with {}: {}", answer.status, answer.body.trim());
    }
    let session: Value = serde_json::from_str(&answer.body).context("a session is not JSON")?;
    let text = |field: &str| {
        session[field].as_str().with_context(|| format!("a session has no {field}: {session}"))
    };
    let token = text("token")?;
    let customer: CustomerId = text("customer_id")?.parse().context("a customer id is none")?;
    let key = "first-purchase";
    let order = CheckoutId::derive(customer, key).order();

    println!("A guest's token, and three lines that buy something:");
    println!();
    println!("TOKEN={token}");
    println!();
    println!(
        "curl -s {api}/v1/cart/items -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \
         -d '{{\"sku\":\"{SKU}\",\"quantity\":2}}'; echo"
    );
    println!();
    println!(
        "curl -s {api}/v1/checkouts -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \
         -H 'Idempotency-Key: {key}' -d '{BUYER}'; echo"
    );
    println!();
    println!("curl -s {api}/v1/orders/{order} -H \"Authorization: Bearer $TOKEN\"; echo");
    println!();
    println!("An operator's token, and a line that audits the books:");
    println!();
    println!("OPERATOR={operator}");
    println!();
    println!("curl -s {api}/v1/admin/invariants -H \"Authorization: Bearer $OPERATOR\"; echo");
    println!();
    Ok(())
}

/// In the demo catalog, and in stock.
const SKU: &str = "MUG-BLUE-350";
const BUYER: &str = r#"{"payment":{"method":"pm_card_visa"},"email":"ada@example.com","shipping_address":{"name":"Ada Example","line1":"1 Harbour Street","city":"Dublin","postal_code":"D01 F5P2","country":"IE"}}"#;

fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}
