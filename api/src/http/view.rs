//! Bodies of answers: what the service returned, as JSON.

pub(super) mod shipment;

use chrono::{DateTime, Utc};
use domain::{CheckoutId, CheckoutState, CustomerId, Money, OrderId, OrderState, Quantity, Sku};
use serde::{Deserialize, Serialize};
use store::{
    inventory::Level,
    law::{Audit, Breach},
    order::read::{OrderDetail, OrderEventRow, OrderSummary},
    shipment::Shipment,
};
use utoipa::ToSchema;
use workflows::NextAction;

use self::shipment::ShipmentBody;
use crate::{
    auth::Session,
    error::Problem,
    service::{
        cart::{self, Cart},
        checkout::Checkout,
        order::OrderToShip,
        request::Address,
    },
};

/// An amount of money, for the document only.
#[derive(ToSchema)]
#[schema(as = Money, example = json!({"minor": 1999, "currency": "EUR"}))]
#[expect(dead_code, reason = "it describes a type of another crate")]
pub(super) struct MoneySchema {
    /// Minor units: cents, for euros.
    #[schema(minimum = 0, maximum = 900_000_000_000_000_i64)]
    minor: i64,
    /// ISO 4217.
    #[schema(pattern = "^[A-Z]{3}$")]
    currency: String,
}

/// Where to ship to.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Address)]
pub(super) struct AddressBody {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[schema(min_length = 1, max_length = 200)]
    line1: String,
    #[schema(min_length = 1, max_length = 200)]
    line2: Option<String>,
    #[schema(min_length = 1, max_length = 100)]
    city: String,
    #[schema(min_length = 1, max_length = 20)]
    postal_code: String,
    /// ISO 3166-1, two letters.
    #[schema(pattern = "^[A-Z]{2}$", example = "DE")]
    country: String,
}

impl From<AddressBody> for Address {
    fn from(body: AddressBody) -> Self {
        let AddressBody { name, line1, line2, city, postal_code, country } = body;
        Self { name, line1, line2, city, postal_code, country }
    }
}

impl From<Address> for AddressBody {
    fn from(address: Address) -> Self {
        let Address { name, line1, line2, city, postal_code, country } = address;
        Self { name, line1, line2, city, postal_code, country }
    }
}

/// A new guest.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionBody {
    #[schema(value_type = String, example = "cus_01h455vb4pex5vsknk084sn02q")]
    customer_id: CustomerId,
    /// Sent with every other call: `Authorization: Bearer <token>`.
    token: String,
    expires_at: DateTime<Utc>,
}

impl From<Session> for SessionBody {
    fn from(session: Session) -> Self {
        let Session { customer_id, token, expires_at } = session;
        Self { customer_id, token, expires_at }
    }
}

/// The cart as it stands, beside today's prices and stock.
#[derive(Serialize, ToSchema)]
#[schema(as = Cart)]
pub(super) struct CartBody {
    /// Grows by one with every change; also the `ETag`.
    version: i64,
    /// In SKU order.
    lines: Vec<CartLineBody>,
    /// At today's prices; absent if the cart is empty or its prices do not add up to one amount.
    #[schema(value_type = Option<MoneySchema>)]
    total: Option<Money>,
    /// The checkout that is buying this cart, while one is. Until it ends, the cart cannot change.
    #[schema(value_type = Option<String>)]
    checkout_id: Option<CheckoutId>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CartLine)]
struct CartLineBody {
    #[schema(value_type = String, example = "MUG-BLUE-350")]
    sku: Sku,
    title: String,
    #[schema(value_type = i64, minimum = 1, maximum = 999)]
    quantity: Quantity,
    /// The price for one when the line was last touched.
    #[schema(value_type = MoneySchema)]
    seen_price: Money,
    /// The price for one now.
    #[schema(value_type = MoneySchema)]
    current_price: Money,
    price_changed: bool,
    /// How many can be had now; null while that cannot be told.
    available: Option<i64>,
    /// Whether the SKU is still sold.
    on_sale: bool,
}

impl From<Cart> for CartBody {
    fn from(Cart { view, available }: Cart) -> Self {
        Self {
            version: view.version,
            total: cart::total(&view),
            checkout_id: view.locked_by,
            lines: view
                .lines
                .into_iter()
                .map(|line| CartLineBody {
                    price_changed: line.seen_price != line.current_price,
                    available: available.get(&line.sku).copied(),
                    sku: line.sku,
                    title: line.title,
                    quantity: line.quantity,
                    seen_price: line.seen_price,
                    current_price: line.current_price,
                    on_sale: line.on_sale,
                })
                .collect(),
        }
    }
}

/// One attempt to buy the cart.
#[derive(Serialize, ToSchema)]
#[schema(as = Checkout)]
pub(super) struct CheckoutBody {
    #[schema(value_type = String, example = "chk_01h455vb4pex5vsknk084sn02q")]
    id: CheckoutId,
    #[schema(value_type = String, example = "completed")]
    state: CheckoutState,
    /// The order it makes, once there is one.
    #[schema(value_type = Option<String>)]
    order_id: Option<OrderId>,
    /// What it costs, once priced.
    #[schema(value_type = Option<MoneySchema>)]
    total: Option<Money>,
    /// In SKU order, once priced.
    lines: Vec<LineBody>,
    /// Until when the stock is held, while it is.
    expires_at: Option<DateTime<Utc>>,
    /// What the customer must do next, if anything.
    next_action: Option<NextActionBody>,
    /// The payment attempts begun.
    attempts: u32,
    /// Why it did not sell; while it still may, why the last payment attempt did not succeed.
    problem: Option<Problem>,
    created_at: DateTime<Utc>,
}

/// What the customer must do next.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = NextAction)]
enum NextActionBody {
    /// Choose how to pay: POST to `/payment`.
    SubmitPayment,
    /// Confirm with the bank.
    Redirect { url: String },
}

#[derive(Serialize, ToSchema)]
#[schema(as = Line)]
struct LineBody {
    #[schema(value_type = String)]
    sku: Sku,
    title: String,
    #[schema(value_type = i64, minimum = 1, maximum = 999)]
    quantity: Quantity,
    #[schema(value_type = MoneySchema)]
    unit_price: Money,
}

impl From<Checkout> for CheckoutBody {
    fn from(checkout: Checkout) -> Self {
        Self {
            id: checkout.id,
            state: checkout.state,
            order_id: checkout.order_id,
            total: checkout.total,
            lines: checkout
                .lines
                .into_iter()
                .map(|line| LineBody {
                    sku: line.sku,
                    title: line.title,
                    quantity: line.quantity,
                    unit_price: line.unit_price,
                })
                .collect(),
            expires_at: checkout.expires_at,
            next_action: checkout.next_action.map(|action| match action {
                NextAction::SubmitPayment => NextActionBody::SubmitPayment,
                NextAction::Redirect { url } => NextActionBody::Redirect { url },
            }),
            attempts: checkout.attempts,
            problem: checkout.problem.as_ref().map(Into::into),
            created_at: checkout.created_at,
        }
    }
}

/// One page of orders, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderPage)]
pub(super) struct OrderPageBody {
    pub(super) orders: Vec<OrderSummaryBody>,
    /// Send it as `cursor` for the next page; absent on the last.
    pub(super) next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OrderSummary)]
pub(super) struct OrderSummaryBody {
    #[schema(value_type = String, example = "ord_01h455vb4pex5vsknk084sn02q")]
    id: OrderId,
    #[schema(value_type = String, example = "paid")]
    state: OrderState,
    #[schema(value_type = MoneySchema)]
    total: Money,
    #[schema(value_type = String)]
    checkout_id: CheckoutId,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<OrderSummary> for OrderSummaryBody {
    fn from(order: OrderSummary) -> Self {
        Self {
            id: order.id,
            state: order.state,
            total: order.total,
            checkout_id: order.id.checkout(),
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

/// An order with its lines, its shipments and what happened to it.
#[derive(Serialize, ToSchema)]
#[schema(as = Order)]
pub(super) struct OrderBody {
    #[serde(flatten)]
    summary: OrderSummaryBody,
    /// In SKU order.
    lines: Vec<LineBody>,
    /// Oldest first.
    shipments: Vec<ShipmentBody>,
    /// In order.
    events: Vec<OrderEventBody>,
    /// When the customer called it off after it was paid, if they did.
    called_off_at: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OrderEvent)]
struct OrderEventBody {
    seq: i64,
    #[schema(example = "paid")]
    kind: String,
    at: DateTime<Utc>,
}

impl From<(OrderDetail, Vec<Shipment>)> for OrderBody {
    fn from((order, shipments): (OrderDetail, Vec<Shipment>)) -> Self {
        let event = |OrderEventRow { seq, kind, at }| OrderEventBody { seq, kind, at };
        Self {
            summary: order.summary.into(),
            lines: order
                .lines
                .into_iter()
                .map(|line| LineBody {
                    sku: line.sku,
                    title: line.title,
                    quantity: line.quantity,
                    unit_price: line.unit_price,
                })
                .collect(),
            shipments: shipments.into_iter().map(Into::into).collect(),
            events: order.events.into_iter().map(event).collect(),
            called_off_at: order.called_off_at,
        }
    }
}

/// An order, and who gets it.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderToShip)]
pub(super) struct OrderToShipBody {
    #[serde(flatten)]
    order: OrderBody,
    #[schema(value_type = String, example = "cus_01h455vb4pex5vsknk084sn02q")]
    customer_id: CustomerId,
    email: String,
    shipping_address: AddressBody,
}

impl From<OrderToShip> for OrderToShipBody {
    fn from(to_ship: OrderToShip) -> Self {
        let OrderToShip { order, customer_id, email, shipping_address } = to_ship;
        Self { order: order.into(), customer_id, email, shipping_address: shipping_address.into() }
    }
}

/// What an audit of the books found.
#[derive(Serialize, ToSchema)]
#[schema(as = Audit)]
pub(super) struct AuditBody {
    /// Whether everything was checked and no law is broken.
    lawful: bool,
    /// How many laws were checked; those of the stock once for each of its databases.
    checked: usize,
    breaches: Vec<BreachBody>,
    /// What could not be checked, since its database does not answer.
    unreachable: Vec<String>,
}

/// A broken law.
#[derive(Serialize, ToSchema)]
#[schema(as = Breach)]
struct BreachBody {
    /// What should be so.
    claim: &'static str,
    /// What breaks it; at most the first ten.
    examples: Vec<String>,
}

impl From<Audit> for AuditBody {
    fn from(audit: Audit) -> Self {
        let breach = |Breach { claim, examples }| BreachBody { claim, examples };
        Self {
            lawful: audit.breaches.is_empty() && audit.unreachable.is_empty(),
            checked: audit.checked,
            breaches: audit.breaches.into_iter().map(breach).collect(),
            unreachable: audit.unreachable,
        }
    }
}

/// The counters of a SKU's stock: received is available, reserved and sold together.
#[derive(Serialize, ToSchema)]
#[schema(as = StockLevel)]
pub(super) struct LevelBody {
    #[schema(value_type = String, example = "MUG-BLUE-350")]
    sku: Sku,
    /// Units booked in by receipts, less those booked out.
    received: i64,
    /// Units that can be had.
    available: i64,
    /// Units held for checkouts.
    reserved: i64,
    /// Units sold.
    sold: i64,
}

impl LevelBody {
    pub(super) fn new(sku: Sku, level: Level) -> Self {
        let Level { received, available, reserved, sold } = level;
        Self { sku, received, available, reserved, sold }
    }
}
