//! The real grpcurl, with nothing but the services' reflection to know them by.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::programs;

/// Longer than any call of a test takes.
const LIMIT: Duration = Duration::from_secs(40);

/// grpcurl towards one service.
#[derive(Clone, Debug)]
pub struct Grpcurl {
    address: String,
}

impl Grpcurl {
    /// Towards `http://host:port`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { address: url.trim_start_matches("http://").to_owned() }
    }

    /// What `list`, `describe` and the like print, as text.
    ///
    /// # Errors
    /// When it fails.
    pub async fn text(&self, command: &[&str]) -> anyhow::Result<String> {
        let args = [&["-plaintext", &self.address], command].concat();
        let output = run(&args).await?;
        success(&output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Calls `package.Service/Method` with JSON; the answers, one for a unary call.
    ///
    /// # Errors
    /// When it fails.
    pub async fn call(&self, method: &str, request: &Value) -> anyhow::Result<Vec<Value>> {
        let output = run(&self.call_args(method, &request.to_string())).await?;
        success(&output)?;
        json(&String::from_utf8_lossy(&output.stdout))
    }

    /// As [`Grpcurl::call`], for a call that fails: its status as grpcurl tells it, with `code`,
    /// `message` and `details`.
    ///
    /// # Errors
    /// When the call succeeds, or there is no status.
    pub async fn failure(&self, method: &str, request: &Value) -> anyhow::Result<Value> {
        let request = request.to_string();
        let mut args = vec!["-format-error"];
        args.extend(self.call_args(method, &request));
        let output = run(&args).await?;
        if output.status.success() {
            bail!("it succeeded: {}", String::from_utf8_lossy(&output.stdout));
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let status = json(&text).with_context(|| format!("no status in {text:?}"))?;
        status.into_iter().next().context("no status")
    }

    /// Calls a method that streams, until `enough` answers have come, then leaves.
    ///
    /// # Errors
    /// When it ends before.
    pub async fn stream(
        &self,
        method: &str,
        request: &Value,
        enough: impl Fn(&[Value]) -> bool,
    ) -> anyhow::Result<Vec<Value>> {
        let mut child = command()?
            .args(self.call_args(method, &request.to_string()))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdout = child.stdout.take().context("no output")?;
        let mut seen = Vec::new();
        let reading = async {
            loop {
                // The last answer may not be whole yet.
                let answers = whole(&String::from_utf8_lossy(&seen));
                if enough(&answers) {
                    return Ok(answers);
                }
                if stdout.read_buf(&mut seen).await? == 0 {
                    bail!("it ended after {answers:?}");
                }
            }
        };
        let answers = timeout(LIMIT, reading).await.context("not enough came")??;
        child.kill().await?;
        Ok(answers)
    }

    fn call_args<'a>(&'a self, method: &'a str, request: &'a str) -> [&'a str; 5] {
        ["-plaintext", "-d", request, &self.address, method]
    }
}

fn command() -> anyhow::Result<Command> {
    let mut command = Command::new(programs::tool("grpcurl")?);
    // An empty folder of protos would do as well: nothing but reflection is used.
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

async fn run(args: &[&str]) -> anyhow::Result<Output> {
    let output = timeout(LIMIT, command()?.args(args).output());
    Ok(output.await.with_context(|| format!("grpcurl {args:?} did not end"))??)
}

fn success(output: &Output) -> anyhow::Result<()> {
    if !output.status.success() {
        bail!("grpcurl failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn json(text: &str) -> anyhow::Result<Vec<Value>> {
    let values = serde_json::Deserializer::from_str(text).into_iter();
    Ok(values.collect::<Result<_, _>>()?)
}

/// The values that have come whole.
fn whole(text: &str) -> Vec<Value> {
    let values = serde_json::Deserializer::from_str(text).into_iter();
    values.map_while(Result::ok).collect()
}
