//! Webhooks: an event posted to an endpoint, signed anew at each try.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{EventId, WebhookEndpointId};
use payments::webhook::Secret;
use reqwest::{Client, Url, header::CONTENT_TYPE, redirect, retry};
use serde::Serialize;
use serde_json::Value;
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
        let secret: Secret = secret.parse().map_err(|_| Trouble::Lasting("the secret is none"))?;
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
            // Neither a stranger nor an old recording passes for us.
            .header("holdfast-signature", secret.sign(Utc::now().timestamp(), body.as_bytes()))
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
