//! Requests to the hub, and its refusals as failures.

use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{MAX_PAGE, Page, code};
use crate::cli::args::hub::Connection;
use crate::cli::failure::Failure;
use crate::uplink::{Hub, Method, SendOptions, UplinkError, encode};

/// Most items of a list that are read: far more than a hub is built for. A hub whose cursor leads in circles ends here.
const MAX_ITEMS: usize = 200_000;

/// The result of everything that asks a hub.
pub(super) type Asked<T> = Result<T, Failure>;

/// A hub that is asked.
pub(super) struct Api {
    hub: Hub,
    /// Its URL, as a person would give it to another command.
    pub(super) url: String,
}

impl Api {
    pub(super) fn new(connection: Connection) -> Asked<Self> {
        let url = connection.url.to_string();
        let hub = Hub::new(connection.url, &connection.trust, Some(connection.token)).map_err(failure)?;
        Ok(Self { hub, url })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Asked<T> {
        self.hub.get(path).await.map_err(failure)
    }

    /// `None` where the hub has no such thing, or does not say so.
    pub(super) async fn find<T: DeserializeOwned>(&self, path: &str) -> Asked<Option<T>> {
        match self.hub.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_refused_with(code::NOT_FOUND) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    /// Bytes as they are, of a type of text.
    pub(super) async fn text(&self, path: &str) -> Asked<String> {
        let (_kind, bytes) = self.hub.text(path).await.map_err(failure)?;
        String::from_utf8(bytes).map_err(|_| {
            let failure =
                Failure::new(crate::cli::report::Verdict::HubFailed, "hub-garbage", "the answer is not UTF-8");
            failure.hint("is this the hub's address and port?")
        })
    }

    /// Makes something. A key of its own lets the request be sent again after a lost connection, without making two.
    pub(super) async fn create<B: Serialize + Sync, T: DeserializeOwned>(&self, path: &str, body: &B) -> Asked<T> {
        let options = SendOptions { idempotency_key: Some(random_key()?), ..SendOptions::default() };
        let reply = self.hub.send(Method::POST, path, Some(body), &options).await.map_err(failure)?;
        reply.json().map_err(failure)
    }

    /// Changes something; with a version, only if it is still that one.
    pub(super) async fn edit<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        version: Option<i64>,
        body: &B,
    ) -> Asked<T> {
        let if_match = version.map(|version| format!("\"{version}\""));
        let options = SendOptions { if_match, ..SendOptions::default() };
        let reply = self.hub.send(Method::PATCH, path, Some(body), &options).await.map_err(failure)?;
        reply.json().map_err(failure)
    }

    /// A POST that is a verb with words of its own, such as `…/freeze`. Said twice it is as if said once.
    pub(super) async fn act_with<B: Serialize + Sync, T: DeserializeOwned>(&self, path: &str, body: &B) -> Asked<T> {
        let reply = self.hub.send(Method::POST, path, Some(body), &SendOptions::default()).await;
        reply.map_err(failure)?.json().map_err(failure)
    }

    /// A POST that is a verb, such as `…/retry`.
    pub(super) async fn act<T: DeserializeOwned>(&self, path: &str) -> Asked<T> {
        let reply = self.hub.send::<Value>(Method::POST, path, None, &SendOptions::default()).await;
        reply.map_err(failure)?.json().map_err(failure)
    }

    pub(super) async fn delete(&self, path: &str) -> Asked<()> {
        let reply = self.hub.send::<Value>(Method::DELETE, path, None, &SendOptions::default()).await;
        reply.map(drop).map_err(failure)
    }

    /// All pages of a list.
    pub(super) async fn all<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Asked<Vec<T>> {
        self.some(path, query, MAX_ITEMS).await
    }

    /// The first items of a list.
    pub(super) async fn some<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        most: usize,
    ) -> Asked<Vec<T>> {
        let mut items: Vec<T> = Vec::new();
        let mut cursor = None;
        while items.len() < most {
            let limit = MAX_PAGE.min(most - items.len());
            let mut parts = vec![format!("limit={limit}")];
            parts.extend(query.iter().map(|(key, value)| format!("{key}={}", encode(value))));
            parts.extend(cursor.iter().map(|cursor: &String| format!("cursor={}", encode(cursor))));
            let page: Page<T> = self.get(&format!("{path}?{}", parts.join("&"))).await?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        items.truncate(most);
        Ok(items)
    }

    /// Asks again and again until `done`, or until the time is over: then the last answer.
    pub(super) async fn until<T: DeserializeOwned>(
        &self,
        path: &str,
        patience: Duration,
        done: impl Fn(&T) -> bool,
    ) -> Asked<T> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let found: T = self.get(path).await?;
            if done(&found) || tokio::time::Instant::now() >= deadline {
                return Ok(found);
            }
            tokio::time::sleep_until(deadline.min(tokio::time::Instant::now() + ASK_AGAIN)).await;
        }
    }
}

/// Between two questions whether something is ready: a person does not notice it, a hub neither.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// 128 random bits as hex digits.
fn random_key() -> Asked<String> {
    let mut bytes = [0; 16];
    let random = SystemRandom::new().fill(&mut bytes);
    random.map_err(|_| Failure::internal("the system gives no random bytes"))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Every code of a problem: they go into `--json` as they are.
const CODES: [&str; 29] = [
    code::MALFORMED,
    code::INVALID,
    code::UNAUTHENTICATED,
    code::FORBIDDEN,
    code::NOT_FOUND,
    code::METHOD,
    code::NAME_TAKEN,
    code::HOSTNAME_TAKEN,
    code::HOSTNAME_RESERVED,
    code::PORT_TAKEN,
    code::OVERLAP,
    code::BROAD,
    code::ADDRESS_TAKEN,
    code::KEY_TAKEN,
    code::POOL_FULL,
    code::LIMIT,
    code::PROTOCOL,
    code::STATE,
    code::IN_USE,
    code::CHANGED,
    code::KEY_REUSED,
    code::REMOVED,
    code::TOKEN_PINNED,
    code::TOKEN_REVOKED,
    code::RATE_LIMITED,
    code::TOO_LARGE,
    code::TIMEOUT,
    code::UNAVAILABLE,
    code::INTERNAL,
];

/// A refusal in the hub's own words and with its own code; anything else as every command says it.
fn failure(error: UplinkError) -> Failure {
    let Some(problem) = error.problem() else { return Failure::from(anyhow::Error::from(error)) };
    let code = CODES.into_iter().find(|code| *code == problem.code).unwrap_or("hub-refused");
    let field = problem.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
    let message = format!("the hub refused: {field}{}", problem.detail);
    let hint = problem.hint.clone().or_else(|| hint(code).map(str::to_owned));
    let failure = Failure::new(crate::cli::report::Verdict::HubFailed, code, message);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The way out where the hub names none.
fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        code::UNAUTHENTICATED | code::TOKEN_REVOKED => {
            "check --hub-token-file and --hub: is it a token of this hub, and not taken back?"
        }
        code::FORBIDDEN => "sitepeer hub whoami shows your token's role; an administrator can make another token",
        code::NOT_FOUND => "sitepeer hub … list shows what your token may see",
        code::CHANGED => "somebody changed it meanwhile: look at it, then run this again",
        code::RATE_LIMITED | code::UNAVAILABLE | code::TIMEOUT => "wait a moment, then run this again",
        _ => return None,
    })
}
