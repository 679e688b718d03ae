//! Certificates and CAs change under load, as an orchestrator changes them: a folder behind a symlink
//! that moves. No call fails.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::StreamExt as _;
use svc_security::{ClientSecurity, SecuredChannel};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::echo::{ask, open};
use crate::pki::{Ca, Issued};
use crate::server::{Files, Served, assert_no_connection, client, soon};

const MUTUAL: &str = "--tls-cert @live/server.crt --tls-key @live/server.key \
                      --tls-client-ca @live/clients.pem";

/// Puts a set of files there as a Kubernetes secret does.
fn mount(files: &Files, version: &str, server: &Issued, clients: &str) {
    let folder = files.path(version);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("server.crt"), &server.cert).unwrap();
    std::fs::write(folder.join("server.key"), &server.key).unwrap();
    std::fs::write(folder.join("clients.pem"), clients).unwrap();
    let link = files.path("..data");
    symlink(&folder, &link).unwrap();
    std::fs::rename(&link, files.path("live")).unwrap();
}

/// Calls again and again, each time over a connection of its own and over one that stays.
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Load {
    fn start(served: &Arc<Served>, security: ClientSecurity) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (served, stopped, counted) =
            (Arc::clone(served), Arc::clone(&stop), Arc::clone(&calls));
        let task = tokio::spawn(async move {
            let stays = served.connect(&security);
            while !stopped.load(Ordering::SeqCst) {
                ask(&stays, "").await.expect("a call over a connection that stays");
                ask(&served.connect(&security), "").await.expect("a call over a new connection");
                counted.fetch_add(2, Ordering::SeqCst);
            }
        });
        Self { stop, calls, task }
    }

    async fn more(&self) {
        let before = self.calls.load(Ordering::SeqCst);
        let calls = || self.calls.load(Ordering::SeqCst);
        soon("more calls", || async { calls() > before + 10 || self.task.is_finished() }).await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("no call failed");
    }
}

async fn passes(served: &Served, security: &ClientSecurity) -> bool {
    ask(&served.connect(security), "").await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_cas_change_under_load_without_a_failed_call() {
    let files = Files::new();
    let (old_ca, new_ca) = (Ca::new("old"), Ca::new("new"));
    let (old_clients, new_clients) = (Ca::new("old clients"), Ca::new("new clients"));
    files.put_issued("old", &old_clients.client("old"));
    files.put_issued("new", &new_clients.client("new"));
    let both_cas = files.put("both.pem", old_ca.pem() + &new_ca.pem());
    let only_old = files.put("only-old.pem", old_ca.pem());
    let only_new = files.put("only-new.pem", new_ca.pem());
    let (old_cert, new_cert) = (files.path("old.crt"), files.path("new.crt"));

    mount(&files, "1", &old_ca.server(), &old_clients.pem());
    let served = Arc::new(files.serve(MUTUAL).await);
    // An old client that trusts both CAs, as it does while they change.
    let old_client = client(Some(&both_cas), Some(&old_cert), None);
    let load = Load::start(&served, old_client.clone());
    load.more().await;
    let new_client = client(Some(&both_cas), Some(&new_cert), None);
    assert!(!passes(&served, &new_client).await);

    // A stream that outlives all changes.
    let (asked, asks) = mpsc::unbounded_channel();
    let old_channel: SecuredChannel = served.connect(&old_client);
    let mut stream = open(&old_channel, UnboundedReceiverStream::new(asks)).await.unwrap();

    let both_clients = old_clients.pem() + &new_clients.pem();
    mount(&files, "2", &new_ca.server(), &both_clients);
    let new_trust = client(Some(&only_new), Some(&old_cert), None);
    soon("the new certificate is shown", || passes(&served, &new_trust)).await;
    assert!(passes(&served, &new_client).await, "the new clients' CA is there as well");
    let old_trust = client(Some(&only_old), Some(&old_cert), None);
    assert_no_connection(&ask(&served.connect(&old_trust), "").await);
    load.more().await;
    load.end().await;

    // Now with new clients, and the old CA goes.
    let load = Load::start(&served, new_client.clone());
    load.more().await;
    mount(&files, "3", &new_ca.server(), &new_clients.pem());
    soon("old clients are refused", || async { !passes(&served, &old_client).await }).await;
    load.more().await;
    load.end().await;

    asked.send("hello".to_owned()).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "old");
}

#[tokio::test]
async fn broken_files_leave_the_old_ones_in_force() {
    let (files, ca) = (Files::new(), Ca::new("ca"));
    let ca_file = files.put("ca.pem", ca.pem());
    files.put_issued("server", &ca.server());
    files.put_issued("client", &ca.client("billing"));
    let rule = |topic: &str| {
        format!("[[rule]]\ncallers = [\"*\"]\nrights = [\"read\"]\ntopics = [\"{topic}\"]")
    };
    files.put("rules.toml", rule("none"));
    let flags = "--tls-cert @server.crt --tls-key @server.key --tls-client-ca @ca.pem \
                 --auth-rules @rules.toml";
    let served = files.serve(flags).await;
    let security =
        client(Some(&files.put("trust.pem", ca.pem())), Some(&files.path("client.crt")), None);
    let good = ca.server();
    for (round, (cert, key, clients)) in [
        ("garbage".to_owned(), good.key.clone(), ca.pem()),
        (good.cert.clone(), ca.server().key, ca.pem()),
        (good.cert.clone(), good.key.clone(), "garbage".to_owned()),
        (good.cert[..200].to_owned(), good.key.clone(), ca.pem()),
    ]
    .into_iter()
    .enumerate()
    {
        files.put("server.crt", cert);
        files.put("server.key", key);
        files.put("ca.pem", clients);
        // Certificates are looked at before rules: once new rules hold, so would the certificates.
        for step in ["a", "b"] {
            let topic = format!("{step}{round}");
            files.put("rules.toml", rule(&topic));
            let asked = format!("read topic {topic}");
            let channel = served.connect(&security);
            soon("new rules hold", || async { ask(&channel, &asked).await.is_ok() }).await;
        }
        assert!(passes(&served, &security).await, "round {round}");
    }
    std::fs::remove_file(&ca_file).unwrap();
    files.put("rules.toml", rule("last"));
    let channel = served.connect(&security);
    soon("new rules hold", || async { ask(&channel, "read topic last").await.is_ok() }).await;
    assert!(passes(&served, &security).await);
}
