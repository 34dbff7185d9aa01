//! Webhooks: an event posted to an endpoint, signed anew at each try.

use std::{fmt::Write as _, time::Duration};

use chrono::{DateTime, Utc};
use domain::{EventId, WebhookEndpointId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, Url, header::CONTENT_TYPE, redirect, retry};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;
use sqlx::PgPool;
use store::delivery::{self, Event, Post};

use super::{
    REST, REST_IN_TROUBLE, Trouble, UnderWay, chain,
    reach::{self, Reach},
    settle,
};

/// How many posts to one endpoint are under way at once, in one worker.
const EACH_MAX: i64 = 8;
/// How long an endpoint may take to answer.
const TRY_LIMIT: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How long a delivery stays with whoever took it. Longer than a try can take, with room to write down
/// how it went.
const LEASE: Duration = Duration::from_secs(15);

/// Whoever posts.
#[derive(Clone)]
pub(super) struct Poster {
    pool: PgPool,
    http: Client,
    reach: Reach,
    tries_max: u32,
}

/// What an endpoint reads.
#[derive(Serialize)]
struct Body<'a> {
    id: EventId,
    topic: &'a str,
    created_at: DateTime<Utc>,
    data: &'a Value,
}

impl Poster {
    pub(super) fn new(pool: PgPool, tries_max: u32, allow_private: bool) -> anyhow::Result<Self> {
        let reach = Reach { allow_private };
        let http = Client::builder()
            .user_agent("holdfast")
            .timeout(TRY_LIMIT)
            .connect_timeout(CONNECT_LIMIT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            // A proxy would resolve names in our place.
            .no_proxy()
            .dns_resolver(reach)
            .build()?;
        Ok(Self { pool, http, reach, tries_max })
    }

    pub(super) async fn run(&self) {
        let mut under_way: UnderWay<WebhookEndpointId> = UnderWay::new();
        loop {
            let rest = match self.take(&under_way.busy()).await {
                Ok(posts) => {
                    for post in posts {
                        under_way.begin(post.endpoint_id, self.clone().attempt(post));
                    }
                    REST
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "webhooks wait");
                    REST_IN_TROUBLE
                }
            };
            under_way.rest(rest).await;
        }
    }

    async fn take(&self, busy: &[WebhookEndpointId]) -> Result<Vec<Post>, store::Error> {
        let mut conn = self.pool.acquire().await?;
        delivery::take_posts(&mut conn, busy, EACH_MAX, LEASE).await
    }

    async fn attempt(self, post: Post) {
        let told = match &post.secret {
            Some(secret) => self.post(&post.url, secret, &post.due.event).await,
            None => Err(Trouble::Lasting("the endpoint was removed")),
        };
        settle(&self.pool, self.tries_max, &post.due, told).await;
    }

    /// Only the status counts. The answer's body is not read at all.
    async fn post(&self, url: &str, secret: &str, event: &Event) -> Result<(), Trouble> {
        let url: Url = url.parse().map_err(|_| Trouble::Lasting("the address is none"))?;
        if !self.reach.may_name(&url) {
            return Err(Trouble::Passing(reach::REFUSED.to_owned()));
        }
        let body = Body {
            id: event.id,
            topic: &event.topic,
            created_at: event.created_at,
            data: &event.data,
        };
        let body = serde_json::to_string(&body).expect("an event is JSON");
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("holdfast-event-id", event.id.to_string())
            .header("holdfast-signature", signature(secret, Utc::now().timestamp(), &body))
            .body(body);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => {
                Err(Trouble::Passing(format!("the endpoint answered {}", answer.status().as_u16())))
            }
            Err(error) => Err(Trouble::Passing(chain(&error.without_url()))),
        }
    }
}

/// `t=…,v1=…`: the time, and an HMAC over the time and the body, so that neither a stranger nor an old
/// recording passes for us. The whole secret is the key, its prefix included.
fn signature(secret: &str, signed_at_unix_s: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .expect("an HMAC takes a key of any length");
    mac.update(format!("{signed_at_unix_s}.{body}").as_bytes());
    let mut header = format!("t={signed_at_unix_s},v1=");
    for byte in mac.finalize().into_bytes() {
        write!(header, "{byte:02x}").expect("writing to a String cannot fail");
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_another_tool_computes() {
        // printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test
        let expected = "c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925";
        let header = signature("whsec_test", 1_700_000_000, r#"{"id":"evt_1"}"#);
        assert_eq!(header, format!("t=1700000000,v1={expected}"));
    }
}
