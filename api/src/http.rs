//! The HTTP face: extract, parse, one call to the service, and a view of what came back.
//!
//! The `OpenAPI` document is made from these handlers, so it cannot tell of anything else. Statuses of
//! errors are not chosen here.

mod admin;
mod cart;
mod cases;
mod checkouts;
mod docs;
mod extract;
mod ops;
mod orders;
mod payments;
mod refunds;
mod sessions;
mod shipments;
mod timeline;
mod view;
mod webhooks;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, routing::get};
use http::{HeaderName, HeaderValue, header};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{BODY_BYTES_MAX, error::Error, metrics::Metrics, service::Service};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Holdfast",
        description = "Carts, checkouts and orders. A checkout cannot oversell, double-charge or forget.\n\n\
            Errors are `application/problem+json` with a stable `code`. Money is minor units and a currency. \
            Every call of a customer's but the first needs the token that `POST /v1/sessions` gives.",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "sessions", description = "Customers and their tokens"),
        (name = "cart", description = "The caller's own cart"),
        (name = "checkouts", description = "Attempts to buy the cart"),
        (name = "orders", description = "What was bought"),
        (name = "payments", description = "For the card provider, and for browsers on their way back from the bank"),
        (name = "webhooks", description = "What others tell the shop"),
        (name = "operators", description = "For those who run the shop"),
        (name = "operations", description = "For what watches over it")
    ),
    components(schemas(crate::error::Problem, crate::error::FieldError)),
    modifiers(&Bearer)
)]
struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Every route, with what is answered where there is none.
pub(crate) fn router(service: Service, metrics: Arc<Metrics>) -> Router {
    let (routes, document) = documented().split_for_parts();
    routes
        .with_state(service)
        .merge(ops::metrics_router(metrics))
        .merge(docs::router(&document))
        .route("/", get(docs::root))
        .fallback(async || Error::NotFound)
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::map_response(no_sniffing))
}

fn documented() -> OpenApiRouter<Service> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(sessions::open))
        .routes(routes!(cart::show))
        .routes(routes!(cart::add))
        .routes(routes!(cart::set, cart::remove))
        .routes(routes!(checkouts::start))
        .routes(routes!(checkouts::show))
        .routes(routes!(checkouts::pay))
        .routes(routes!(checkouts::cancel))
        .routes(routes!(checkouts::events))
        .routes(routes!(orders::list))
        .routes(routes!(orders::show))
        .routes(routes!(orders::cancel))
        .routes(routes!(orders::to_ship))
        .routes(routes!(payments::webhook))
        .routes(routes!(payments::back))
        .routes(routes!(admin::invariants))
        .routes(routes!(admin::level))
        .routes(routes!(admin::receive))
        .routes(routes!(admin::resolve))
        .routes(routes!(cases::list))
        .routes(routes!(cases::show))
        .routes(routes!(cases::resolve))
        .routes(routes!(cases::reconcile))
        .routes(routes!(refunds::refund, refunds::refunds))
        .routes(routes!(refunds::restock))
        .routes(routes!(shipments::list, shipments::create))
        .routes(routes!(shipments::event))
        .routes(routes!(shipments::hear))
        .routes(routes!(timeline::show))
        .routes(routes!(webhooks::register, webhooks::list))
        .routes(routes!(webhooks::remove))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::retry))
        .routes(routes!(ops::livez))
        .routes(routes!(ops::readyz))
}

/// What is not for a shared cache unless it says so, and never for a browser to guess at.
async fn no_sniffing(mut response: axum::response::Response) -> axum::response::Response {
    let headers = response.headers_mut();
    let nosniff = HeaderName::from_static("x-content-type-options");
    headers.insert(nosniff, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_tells_of_every_operation_and_which_of_them_need_a_token() {
        let document = serde_json::to_value(documented().split_for_parts().1).expect("JSON");
        let mut operations = Vec::new();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                let token = if operation["security"].is_array() { " token" } else { "" };
                operations.push(format!("{} {path}{token}", method.to_uppercase()));
                // The page shows the operations of the tags that are listed.
                let tag = &operation["tags"][0];
                let listed = document["tags"].as_array().expect("tags");
                assert!(listed.iter().any(|known| known["name"] == *tag), "{path}: {tag}");
            }
        }
        operations.sort();
        assert_eq!(
            operations,
            [
                "DELETE /v1/admin/webhook-endpoints/{id} token",
                "DELETE /v1/cart/items/{sku} token",
                "GET /livez",
                "GET /readyz",
                "GET /v1/admin/cases token",
                "GET /v1/admin/cases/{id} token",
                "GET /v1/admin/deliveries token",
                "GET /v1/admin/invariants token",
                "GET /v1/admin/inventory/{sku} token",
                "GET /v1/admin/orders/{id} token",
                "GET /v1/admin/orders/{id}/refunds token",
                "GET /v1/admin/orders/{id}/shipments token",
                "GET /v1/admin/orders/{id}/timeline token",
                "GET /v1/admin/webhook-endpoints token",
                "GET /v1/cart token",
                "GET /v1/checkouts/{id} token",
                "GET /v1/checkouts/{id}/events token",
                "GET /v1/orders token",
                "GET /v1/orders/{id} token",
                "GET /v1/payments/return",
                "POST /v1/admin/cases/{id}/resolve token",
                "POST /v1/admin/checkouts/{id}/resolve token",
                "POST /v1/admin/deliveries/{id}/retry token",
                "POST /v1/admin/inventory/{sku}/receipts token",
                "POST /v1/admin/orders/{id}/refunds token",
                "POST /v1/admin/orders/{id}/restock token",
                "POST /v1/admin/orders/{id}/shipments token",
                "POST /v1/admin/reconciliations token",
                "POST /v1/admin/shipments/{id}/events token",
                "POST /v1/admin/webhook-endpoints token",
                "POST /v1/cart/items token",
                "POST /v1/checkouts token",
                "POST /v1/checkouts/{id}/cancel token",
                "POST /v1/checkouts/{id}/payment token",
                "POST /v1/orders/{id}/cancel token",
                "POST /v1/sessions",
                "POST /v1/webhooks/carriers/{carrier}",
                "POST /v1/webhooks/stripe",
                "PUT /v1/cart/items/{sku} token",
            ]
        );
        assert_eq!(document["openapi"], "3.1.0");
    }
}
