//! What a client shows, changed while it calls: no call fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use svc_security::{ClientSecurity, Problem};

use crate::echo::ask;
use crate::pki::Ca;
use crate::server::{Files, access, client, soon};
use crate::tokens::{FLAGS, RULES, TOKEN, tokens};

#[tokio::test]
async fn a_new_token_is_sent_once_it_is_in_the_file() {
    let (files, second) = (Files::new(), "crm-token-000000002");
    files.put("rules.toml", RULES);
    files.put("tokens.toml", tokens("billing", TOKEN) + &tokens("crm", second));
    let served = files.serve(FLAGS).await;
    let channel = served.connect(&client(None, None, Some(&files.put("token", TOKEN))));
    assert_eq!(ask(&channel, "").await.unwrap(), "billing");
    files.put("token", format!("  {second}\n"));
    soon("the new token is sent", || async { ask(&channel, "").await.unwrap() == "crm" }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_shown_without_a_failed_call() {
    let (files, ca) = (Files::new(), Ca::new("ca"));
    let ca_file = files.put("ca.pem", ca.pem());
    files.put_issued("server", &ca.server());
    let flags = "--tls-cert @server.crt --tls-key @server.key --tls-client-ca @ca.pem";
    let served = Arc::new(files.serve(flags).await);
    for connections in [1, 3] {
        files.put_issued("client", &ca.client("first"));
        let security = client(Some(&ca_file), Some(&files.path("client.crt")), None);
        let channel = access(&security).channel(&served.url(), connections).unwrap();
        assert_eq!(ask(&channel, "").await.unwrap(), "first");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, calls) = (Arc::clone(&stop), channel.clone());
        let load = tokio::spawn(async move {
            while !stopped.load(Ordering::SeqCst) {
                ask(&calls, "").await.expect("a call while the certificate changes");
            }
        });
        for name in ["second", "third", "fourth"] {
            files.put_issued("client", &ca.client(name));
            soon("the new certificate is shown", || async {
                ask(&channel, "").await.unwrap() == name
            })
            .await;
        }
        stop.store(true, Ordering::SeqCst);
        load.await.unwrap();
    }
}

#[tokio::test]
async fn what_a_client_cannot_use_is_named() {
    let (files, ca) = (Files::new(), Ca::new("ca"));
    files.put_issued("client", &ca.client("billing"));
    let wrong = |security: ClientSecurity| {
        let error = security.start().unwrap_err();
        error.problems.into_iter().map(|problem| problem.flag).collect::<Vec<_>>()
    };
    let missing = files.path("missing");
    assert_eq!(wrong(client(Some(&missing), None, None)), ["--services-ca"]);
    assert_eq!(wrong(client(None, None, Some(&missing))), ["--services-token-file"]);
    let half = ClientSecurity {
        services_cert: Some(files.path("client.crt")),
        ..ClientSecurity::default()
    };
    assert_eq!(wrong(half), ["--services-key"]);
    files.put("client.key", ca.client("other").key);
    assert_eq!(wrong(client(None, Some(&files.path("client.crt")), None)), ["--services-key"]);
    let token = files.put("token", "hidden hidden");
    let error = client(None, None, Some(&token)).start().unwrap_err();
    assert!(!error.to_string().contains("hidden"), "{error}");

    let access = client(None, None, None).start().unwrap();
    for address in ["localhost:1", "ftp://localhost:1", ""] {
        let Problem { what, .. } = access.channel(address, 1).unwrap_err();
        assert!(what.contains(address), "{what}");
    }
}
