//! The shop's REST API.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;

/// A client of one gateway.
#[derive(Clone, Debug)]
pub struct Rest {
    url: String,
    http: reqwest::Client,
}

impl Rest {
    /// For the gateway at `http://…`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        Ok(Self { url: url.to_owned(), http })
    }

    /// Sends `body` as it is, which need not be JSON, and answers status and JSON.
    ///
    /// # Errors
    /// When there is no answer, or it is not JSON.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        let value = serde_json::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{path} answered {status} {text:?}: {error}"))?;
        Ok((status, value))
    }

    /// The `result` of a GET.
    ///
    /// # Errors
    /// When the answer is an error.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, mut answer) = self.send(Method::GET, path, None).await?;
        anyhow::ensure!(status.is_success(), "GET {path}: {status} {answer}");
        Ok(answer["result"].take())
    }
}
