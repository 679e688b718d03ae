//! A replica of the service as it is shipped: the program, so that it can be killed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proto::eventstore::v1::ListTopicsRequest;
use proto::eventstore::v1::topics_client::TopicsClient;
use redis_link::test_util::free_port;

/// A running program; killed when dropped.
pub struct Replica {
    pub url: String,
    redis_url: String,
    child: Child,
}

impl Replica {
    pub async fn start(redis_url: &str) -> Self {
        // Free also while it is dead: no outgoing connection gets it.
        let listen = format!("127.0.0.1:{}", free_port());
        let child = run(&listen, redis_url);
        let mut replica =
            Self { url: format!("http://{listen}"), redis_url: redis_url.to_owned(), child };
        replica.ready().await;
        replica
    }

    pub fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, at the same address.
    pub async fn restart(&mut self) {
        self.child = run(self.url.trim_start_matches("http://"), &self.redis_url);
        self.ready().await;
    }

    async fn ready(&mut self) {
        let channel = svc_runtime::client::channel(&self.url, 1).unwrap();
        let mut topics = TopicsClient::new(channel);
        let ready = async {
            while topics.list_topics(ListTopicsRequest::default()).await.is_err() {
                // Or else another service could be taken for this one.
                assert_eq!(self.child.try_wait().unwrap(), None, "the replica ended");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ready).await.expect("the replica is ready");
        assert_eq!(self.child.try_wait().unwrap(), None, "the replica ended");
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // Already gone is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends with the thread that started it, whatever becomes of that.
fn run(listen: &str, redis_url: &str) -> Child {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_event-store-svc")])
        .args(["--listen", listen, "--redis-url", redis_url, "--admin-listen", "off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv (util-linux) can be started")
}
