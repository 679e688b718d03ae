//! Certificates, CAs, tokens and rules change while clients write. No call fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use svc_security::ServiceAccess;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::fronts::{BOTH, Files, Front, access, client, soon};
use crate::pki::Ca;
use crate::{rule, token};

const FLAGS: &str = "--tls-cert @server.crt --tls-key @server.key --tls-client-ca @clients.pem \
                     --auth tokens --auth-tokens @tokens --auth-rules @rules";

/// Writes again and again, over a connection that stays and over new ones.
struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Load {
    fn start(front: &Arc<Front>, access: ServiceAccess) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (front, stopped, counted) = (front.clone(), stop.clone(), written.clone());
        let task = tokio::spawn(async move {
            let stays = front.client(&access, &front.url());
            let mut number = 0;
            while !stopped.load(Ordering::SeqCst) {
                let new = front.client(&access, &front.url());
                for client in [&stays, &stays, &stays, &new] {
                    number += 1;
                    let written = client.write("order", &format!("{number}")).await;
                    written.unwrap_or_else(|status| panic!("write {number} failed: {status:?}"));
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { stop, written, task }
    }

    fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }

    async fn more(&self) {
        let before = self.written();
        let is_more = || async { self.written() > before + 20 || self.task.is_finished() };
        soon("more is written", is_more).await;
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("no call failed");
        self.written.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_rotated_under_load_without_a_failed_call() {
    let files = Files::new();
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    files.put_issued("server", &old.server());
    files.put("clients.pem", old.pem());
    files.put("tokens", token("billing", "the-old-token-of-billing"));
    files.put("rules", rule("billing", &["append", "send"]));
    // The clients trust both CAs, as they do while these change.
    let trust = files.put("trust.pem", old.pem() + &new.pem());
    let only_new = files.put("only-new.pem", new.pem());
    files.put_issued("client", &old.client("billing"));
    files.put_issued("old-client", &old.client("billing"));
    files.put_issued("new-client", &new.client("billing"));
    let old_token = files.put("old-token", "the-old-token-of-billing");
    let new_token = files.put("new-token", "the-new-token-of-billing");
    let token_file = files.put("token", "the-old-token-of-billing");

    let mut loads = Vec::new();
    for name in BOTH {
        let front = Arc::new(files.serve(name, FLAGS).await);
        let own = access(&client(&trust, Some(&files.path("client.crt")), Some(&token_file)));
        let load = Load::start(&front, own);
        loads.push((front, load));
    }
    for (_, load) in &loads {
        load.more().await;
    }

    // First the services take the new as well as the old …
    files.put("clients.pem", old.pem() + &new.pem());
    files.put(
        "tokens",
        token("billing", "the-old-token-of-billing")
            + &token("billing", "the-new-token-of-billing"),
    );
    files.put("rules", rule("billing", &["append", "send", "read", "receive"]));
    files.put_issued("server", &new.server());
    let newer = client(&only_new, Some(&files.path("new-client.crt")), Some(&new_token));
    for (front, load) in &loads {
        let reads = || async { front.connect(&newer).read("order").await.is_ok() };
        soon("the new certificates, token and right hold", reads).await;
        load.more().await;
    }
    // … then the clients go over …
    files.put_issued("client", &new.client("billing"));
    files.put("token", "the-new-token-of-billing");
    // Which they do within 50 ms; nothing tells of it.
    sleep(Duration::from_secs(2)).await;
    for (_, load) in &loads {
        load.more().await;
    }
    // … and then the old ones go.
    files.put("clients.pem", new.pem());
    files.put("tokens", token("billing", "the-new-token-of-billing"));
    files.put("rules", rule("billing", &["append", "send"]));
    let old_cert = client(&trust, Some(&files.path("old-client.crt")), Some(&new_token));
    let old_token = client(&trust, Some(&files.path("new-client.crt")), Some(&old_token));
    for (front, load) in &loads {
        let refused = || async { front.connect(&newer).read("order").await.is_err() };
        soon("the right is taken away", refused).await;
        let refused = || async { front.connect(&old_cert).write("other", "x").await.is_err() };
        soon("old certificates are refused", refused).await;
        front.connect(&old_cert).assert_no_connection("an old certificate").await;
        let refused = || async { front.connect(&old_token).write("other", "x").await.is_err() };
        soon("old tokens are refused", refused).await;
        front.connect(&old_token).assert_unauthenticated("unknown_token").await;
        front.connect(&newer).assert_denied("billing").await;
        load.more().await;
    }
    for (front, load) in loads {
        let written = load.end().await;
        assert!(written > 100, "{written}");
        println!("{}: {written} writes while everything was rotated", front.name);
        assert_eq!(front.written(), written);
    }
}
