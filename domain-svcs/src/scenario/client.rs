//! A REST client that does not give up while the shop is restarting, and can
//! wait for a state.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

/// How often a watched state is looked at.
const POLL: Duration = Duration::from_millis(25);
/// The wait before a failed request is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(15);

/// Why a scenario ended early.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The client could not be made.
    #[error("{url}: {source}")]
    Client {
        /// The gateway.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// A request was answered with an error.
    #[error("{request}: {status}: {error}")]
    Answer {
        /// Method and path.
        request: String,
        /// The HTTP status.
        status: StatusCode,
        /// What the answer says.
        error: String,
    },
    /// A request was not answered.
    #[error("{request}: no answer: {source}")]
    NoAnswer {
        /// Method and path.
        request: String,
        /// Why.
        source: reqwest::Error,
    },
    /// Something else came than what was expected.
    #[error("{request}: expected {expected}, got {got}")]
    Unexpected {
        /// Method and path.
        request: String,
        /// What should have come.
        expected: String,
        /// What came.
        got: String,
    },
}

impl ScenarioError {
    pub(super) fn unexpected(request: &str, expected: &str, got: &Value) -> Self {
        let mut got = got.to_string();
        if let Some((end, _)) = got.char_indices().nth(300) {
            got.truncate(end);
            got.push('…');
        }
        Self::Unexpected { request: request.to_owned(), expected: expected.to_owned(), got }
    }
}

/// A client of the gateway. Each write carries an idempotency key, so that
/// trying it again does it once.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    patience: Duration,
}

impl Client {
    /// A client of the gateway at `url`, which tries and waits for `patience`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(url: &str, patience: Duration) -> Result<Self, ScenarioError> {
        let http = reqwest::Client::builder().tcp_nodelay(true).timeout(ATTEMPT).build();
        let url = url.trim_end_matches('/').to_owned();
        match http {
            Ok(http) => Ok(Self { http, url, patience }),
            Err(source) => Err(ScenarioError::Client { url, source }),
        }
    }

    /// GETs a result.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn get(&self, path: &str) -> Result<Value, ScenarioError> {
        self.result(Method::GET, path, None).await
    }

    /// POSTs and gives the result.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ScenarioError> {
        self.result(Method::POST, path, Some(body)).await
    }

    /// PUTs and gives the result.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, ScenarioError> {
        self.result(Method::PUT, path, Some(body)).await
    }

    /// DELETEs and gives the result.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn delete(&self, path: &str) -> Result<Value, ScenarioError> {
        self.result(Method::DELETE, path, None).await
    }

    /// POSTs what is to be refused with a 4xx, and gives the error.
    ///
    /// # Errors
    /// When it is not refused.
    pub async fn refused(&self, path: &str, body: &Value) -> Result<String, ScenarioError> {
        match self.post(path, body).await {
            Err(ScenarioError::Answer { status, error, .. }) if status.is_client_error() => {
                Ok(error)
            }
            Err(error) => Err(error),
            Ok(result) => {
                let request = format!("POST {path} {body}");
                Err(ScenarioError::unexpected(&request, "a refusal", &result))
            }
        }
    }

    /// GETs until the result is as wanted, and gives it.
    ///
    /// # Errors
    /// When it is not so in time.
    pub async fn watch(
        &self,
        path: &str,
        wanted: &str,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value, ScenarioError> {
        let end = Instant::now() + self.patience;
        loop {
            let result = self.get(path).await?;
            if is_wanted(&result) {
                return Ok(result);
            }
            if Instant::now() >= end {
                let expected = format!("{wanted} within {:?}", self.patience);
                return Err(ScenarioError::unexpected(&format!("GET {path}"), &expected, &result));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn result(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ScenarioError> {
        let end = Instant::now() + self.patience;
        let key = uuid::Uuid::new_v4().to_string();
        loop {
            match self.attempt(method.clone(), path, body, &key).await {
                Err(error) if is_passing(&error) && Instant::now() < end => {}
                done => return done,
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn attempt(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: &str,
    ) -> Result<Value, ScenarioError> {
        let name = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        let no_answer = |source| ScenarioError::NoAnswer { request: name.clone(), source };
        let response = request.header("idempotency-key", key).send().await.map_err(no_answer)?;
        let status = response.status();
        let mut answer: Value = response.json().await.map_err(no_answer)?;
        if status.is_success() {
            return Ok(answer["result"].take());
        }
        let error = answer["error"].as_str().unwrap_or("(no error in the answer)").to_owned();
        Err(ScenarioError::Answer { request: name, status, error })
    }
}

/// Whether it may go better the next time.
fn is_passing(error: &ScenarioError) -> bool {
    match error {
        ScenarioError::NoAnswer { .. } => true,
        ScenarioError::Answer { status, .. } => {
            matches!(*status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
        }
        ScenarioError::Client { .. } | ScenarioError::Unexpected { .. } => false,
    }
}

/// How many there are in a list or an object.
pub(super) fn length(result: &Value) -> usize {
    result
        .as_array()
        .map(Vec::len)
        .or_else(|| result.as_object().map(serde_json::Map::len))
        .unwrap_or(0)
}
