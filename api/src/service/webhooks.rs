//! Where operators want events to be posted to, and what became of each delivery. The posting itself is
//! the workers'.

use domain::{DeliveryId, WebhookEndpointId};
use store::{
    delivery::{self, DeliveryRow, DeliveryState},
    outbox::TOPICS,
    webhook_endpoint::{self, EndpointRow, NewEndpoint},
};
use url::{Host, Url};
use uuid::Uuid;

use super::{
    Service,
    page::{Page, Wanted},
};
use crate::{
    auth::Operator,
    error::{Error, FieldError},
};

/// The most endpoints at once: every event that concerns all of them is as many deliveries.
pub(crate) const ENDPOINTS_MAX: u32 = 20;
/// The most topics of one endpoint.
pub(crate) const TOPICS_MAX: usize = 50;
/// The longest URL, in bytes.
const URL_BYTES_MAX: usize = 2000;

impl Service {
    /// Registers an endpoint. What its deliveries are signed with is told this once.
    pub(crate) async fn register_endpoint(
        &self,
        operator: &Operator,
        url: &str,
        topics: Vec<String>,
    ) -> Result<(EndpointRow, String), Error> {
        let mut wrong = Vec::new();
        let parsed = parse_url(url).map_err(|detail| {
            wrong.push(FieldError::at("/url", "invalid_value", detail));
        });
        wrong.extend(wrong_topics(&topics));
        let Ok(url) = parsed else { return Err(Error::Invalid(wrong)) };
        if !wrong.is_empty() {
            return Err(Error::Invalid(wrong));
        }
        let secret = new_secret();
        let new = NewEndpoint {
            url: url.as_str(),
            topics: &topics,
            secret: &secret,
            actor: operator.as_str(),
        };
        let mut conn = self.connection().await?;
        let endpoint = webhook_endpoint::register(&mut conn, new, ENDPOINTS_MAX).await?;
        let endpoint = endpoint.ok_or_else(|| {
            let detail = format!("there are {ENDPOINTS_MAX} endpoints already; remove one first");
            Error::Invalid(vec![FieldError::at("", "too_many", detail)])
        })?;
        let id = endpoint.id;
        tracing::info!(endpoint.id = %id, operator = operator.as_str(), "{id} is told of events");
        Ok((endpoint, secret))
    }

    /// Every endpoint.
    pub(crate) async fn endpoints(&self) -> Result<Vec<EndpointRow>, Error> {
        Ok(webhook_endpoint::list(&mut *self.connection().await?).await?)
    }

    /// Tells an endpoint nothing more.
    pub(crate) async fn remove_endpoint(
        &self,
        operator: &Operator,
        id: WebhookEndpointId,
    ) -> Result<(), Error> {
        if !webhook_endpoint::remove(&mut *self.connection().await?, id, operator.as_str()).await? {
            return Err(Error::NotFound);
        }
        tracing::info!(endpoint.id = %id, operator = operator.as_str(), "{id} is told nothing more");
        Ok(())
    }

    /// Deliveries in that state, or in any, those first that have been as they are for the longest.
    pub(crate) async fn deliveries(
        &self,
        state: Option<DeliveryState>,
        wanted: Wanted,
    ) -> Result<Page<DeliveryRow>, Error> {
        let mut conn = self.connection().await?;
        let deliveries = delivery::list(&mut conn, state, wanted.after, wanted.rows()).await?;
        Ok(wanted.page(deliveries, DeliveryRow::position))
    }

    /// Has a delivery that was given up tried again; one that was not is left as it is.
    pub(crate) async fn retry_delivery(
        &self,
        operator: &Operator,
        id: DeliveryId,
    ) -> Result<DeliveryRow, Error> {
        let retried =
            delivery::retry(&mut *self.connection().await?, id, operator.as_str()).await?;
        let retried = retried.ok_or(Error::NotFound)?;
        tracing::info!(delivery.id = %id, operator = operator.as_str(), "{id} is tried again");
        Ok(retried)
    }
}

/// Two random UUIDs hold 244 random bits, nearly as many as the digest is wide.
fn new_secret() -> String {
    format!("whsec_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// Where events may be posted to. Whether the name leads to a place that everybody can reach is seen when
/// it is posted to.
fn parse_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("it is no URL: {error}"))?;
    let on_this_machine = match url.host() {
        None => return Err("a URL with a host is needed".to_owned()),
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
    };
    match url.scheme() {
        "https" => {}
        "http" if on_this_machine => {}
        _ => return Err("https is needed, except on this machine".to_owned()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL may not have a user or a password in it".to_owned());
    }
    if url.fragment().is_some() || url.as_str().len() > URL_BYTES_MAX {
        return Err(format!("a URL has no fragment and at most {URL_BYTES_MAX} bytes"));
    }
    Ok(url)
}

fn wrong_topics(topics: &[String]) -> Vec<FieldError> {
    if !(1..=TOPICS_MAX).contains(&topics.len()) {
        let detail = format!("1 to {TOPICS_MAX} topics");
        return vec![FieldError::at("/topics", "out_of_range", detail)];
    }
    let wrong = topics.iter().enumerate().filter(|(_, topic)| !TOPICS.contains(&topic.as_str()));
    let detail = || format!("there are only {}", TOPICS.join(", "));
    wrong
        .map(|(at, _)| FieldError::at(format!("/topics/{at}"), "unknown_topic", detail()))
        .collect()
}

/// A state as a query names it.
pub(crate) fn read_state(text: &str) -> Result<DeliveryState, Error> {
    DeliveryState::parse(text).ok_or_else(|| {
        let detail = "a delivery is waiting, delivered or dead";
        Error::Invalid(vec![FieldError::parameter("state", "invalid_value", detail)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_posted_to_except_on_this_machine() {
        for url in [
            "https://example.com/hook?shop=1",
            "https://10.0.0.1/",
            "http://localhost:8000/x",
            "http://127.0.0.1:1/",
            "http://[::1]/",
        ] {
            assert!(parse_url(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "example.com",
            "http://example.com/",
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://ada:secret@example.com/",
            "https://example.com/#x",
            &format!("https://example.com/{}", "x".repeat(URL_BYTES_MAX)),
        ] {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_topic_is_one_that_is_told() {
        let every = TOPICS.map(str::to_owned);
        assert_eq!(wrong_topics(&every), []);
        let wrong = ["order.paid", "order.payed", "order.*", "*", "Order.paid", ""];
        let wrong = wrong_topics(&wrong.map(str::to_owned));
        let pointers: Vec<_> = wrong.iter().filter_map(|error| error.pointer.as_deref()).collect();
        assert_eq!(pointers, ["/topics/1", "/topics/2", "/topics/3", "/topics/4", "/topics/5"]);
        assert!(wrong.iter().all(|error| error.detail.contains("refund.succeeded")), "{wrong:?}");
        assert_eq!(wrong_topics(&[]).len(), 1);
    }

    #[test]
    fn a_secret_is_as_wide_as_the_digest_and_never_the_same() {
        assert_eq!(new_secret().len(), "whsec_".len() + 64);
        assert_ne!(new_secret(), new_secret());
    }
}
