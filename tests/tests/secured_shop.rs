//! The whole shop against services that ask for TLS, tokens and rights: with the secrets that
//! deploy/kustomize/secrets/make.sh makes and the rules of deploy/kustomize/components/security,
//! nothing that the shop does is refused, and everybody else is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use domain_svcs::scenario::{Options, play};
use futures::StreamExt as _;
use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::messagequeue::v1::ReceiveRequest;
use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use svc_security::ClientSecurity;
use system_tests::clients::{append, event, outgoing, send};
use system_tests::failure::Failure;
use system_tests::programs;
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE, WORKERS};
use system_tests::watch;
use tempfile::TempDir;
use tonic::Status;

const PATIENCE: Duration = Duration::from_secs(90);
/// Another caller than those that make.sh makes by itself.
const OTHER: &str = "billing-team";

/// What the production overlays mount, in a folder.
struct Secrets {
    folder: TempDir,
}

impl Secrets {
    /// Tokens by make.sh; certificates for where the services are here.
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = programs::repository().join("deploy/kustomize/secrets");
        for file in ["make.sh", "users.acl.template"] {
            fs::copy(source.join(file), folder.path().join(file)).unwrap();
        }
        // As while the shop's token is being changed.
        let also = folder.path().join("files/tokens-also");
        fs::create_dir_all(&also).unwrap();
        fs::write(also.join("order-shop"), "the-next-one").unwrap();
        let made = Command::new(folder.path().join("make.sh")).arg(OTHER).status().unwrap();
        assert!(made.success(), "make.sh: is openssl here?");

        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let cert = params.signed_by(&key, &ca).unwrap();
        let secrets = Self { folder };
        fs::write(secrets.file("ca.crt"), ca.pem()).unwrap();
        fs::write(secrets.file("tls.crt"), cert.pem()).unwrap();
        fs::write(secrets.file("tls.key"), key.serialize_pem()).unwrap();
        secrets
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    /// The arguments of the front services, as the overlays give them.
    fn of_front(&self) -> Vec<String> {
        let rules = "deploy/kustomize/components/security/rules.toml";
        let given = |flag: &str, path: &Path| format!("{flag}={}", path.display());
        vec![
            given("--tls-cert", &self.file("tls.crt")),
            given("--tls-key", &self.file("tls.key")),
            "--auth=tokens".to_owned(),
            given("--auth-tokens", &self.file("tokens.toml")),
            given("--auth-rules", &programs::repository().join(rules)),
            "--no-reflection".to_owned(),
        ]
    }

    /// The arguments of the shop's programs, with one of its tokens.
    fn of_shop(&self, token: &str) -> Vec<String> {
        let (ca, token) = (self.file("ca.crt"), self.file(token));
        vec![
            format!("--services-ca={}", ca.display()),
            format!("--services-token-file={}", token.display()),
        ]
    }

    /// Who knows the services, and has the token of `caller`.
    fn client(&self, caller: Option<&str>) -> ClientSecurity {
        ClientSecurity {
            services_ca: Some(self.file("ca.crt")),
            services_token_file: caller.map(|caller| self.file("tokens").join(caller)),
            ..ClientSecurity::default()
        }
    }
}

/// All calls that a front service did not let in, by `auth_denied_total`.
async fn denied(system: &System) -> f64 {
    let mut denied = 0.0;
    for name in [EVENT_STORE, MESSAGE_QUEUE] {
        let metrics = system.metrics(name).await.unwrap();
        let lines = metrics.lines().filter(|line| line.starts_with("auth_denied_total"));
        let counts: Vec<f64> =
            lines.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
        assert!(!counts.is_empty(), "{name} does not count what it denies:\n{metrics}");
        denied += counts.iter().sum::<f64>();
    }
    denied
}

/// Appends and sends to what is the shop's, and receives from it, as somebody.
async fn meddle(system: &System, secrets: &Secrets, caller: Option<&str>) -> [Status; 3] {
    let access = secrets.client(caller).start().unwrap();
    let channel = |name| access.channel(system.front_url(name).unwrap(), 1).unwrap();
    let mut store = EventStoreClient::new(channel(EVENT_STORE));
    let mut queue = MessageQueueClient::new(channel(MESSAGE_QUEUE));
    let cleared = vec![event("e", "entity_updated", r#"{"status":"CLEARED"}"#)];
    let appended = store.append(append("order", cleared)).await.unwrap_err();
    let messages = vec![outgoing("send", r#"{"to":"a@example.com","msg":"hi"}"#)];
    let sent = queue.send(send("mail-service", messages)).await.unwrap_err();
    let receive = ReceiveRequest { queue: "mail-service".to_owned(), ..ReceiveRequest::default() };
    let received = queue.receive(receive).await.unwrap_err();
    [appended, sent, received]
}

/// What the page is told of the shop, which takes looking at every topic, group and queue.
async fn status(system: &System) -> Value {
    let url = system.url(GATEWAY).unwrap().replace("http:", "ws:");
    let (socket, _) = tokio_tungstenite::connect_async(format!("{url}/ws?for=page")).await.unwrap();
    let frames = socket.filter_map(async |frame| {
        let text = frame.ok()?.into_text().ok()?;
        let frame: Value = serde_json::from_str(text.as_str()).ok()?;
        (frame["action"] == "status").then_some(frame)
    });
    let mut frames = Box::pin(frames);
    tokio::time::timeout(PATIENCE, frames.next()).await.unwrap().unwrap()
}

#[tokio::test]
async fn nothing_that_the_shop_does_is_refused_and_others_are() {
    let secrets = Secrets::make();
    let front = secrets.of_front();
    let [shop, gateway] =
        ["tokens/order-shop", "tokens-also/order-shop"].map(|t| secrets.of_shop(t));
    let [front, shop, gateway] =
        [&front, &shop, &gateway].map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
    let mut arguments: Vec<(&str, &[&str])> =
        [EVENT_STORE, MESSAGE_QUEUE].map(|name| (name, &front[..])).into();
    arguments.extend(WORKERS.map(|name| (name, &shop[..])));
    arguments.push((GATEWAY, &gateway));
    // So that snapshots are kept within the scenario.
    arguments.push(("read-model", &["--snapshot-every", "20"]));
    let mut system = System::shop_over_tls(&arguments).await.unwrap();

    let url = system.url(GATEWAY).unwrap();
    let options = Options { url, patience: PATIENCE, mails: true, ..Options::default() };
    play(&options, |_| {}).await.unwrap();
    let status = status(&system).await;
    for what in ["topics", "groups", "queues"] {
        let seen = status["data"][what].as_array().map_or(0, Vec::len);
        assert!(seen >= 5, "{what}: {status}");
    }
    let lights = status["data"]["services"].as_array().unwrap();
    assert!(lights.iter().all(|light| light["state"] == "up"), "{lights:#?}");
    // One that starts anew takes up its snapshot.
    assert!(system.stop("read-model").await.unwrap().success());
    system.start("read-model").await.unwrap();
    watch::until("a snapshot to be taken up", PATIENCE, || async {
        anyhow::ensure!(system.log("read-model")?.contains("taken up from a snapshot"), "not yet");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(denied(&system).await.to_string(), "0");
    for name in WORKERS.into_iter().chain([GATEWAY]) {
        let log = system.log(name).unwrap();
        // Of a service whose rights do not go far enough.
        assert!(!log.contains("keeps the settings that it has"), "{name}: {log}");
        assert!(!log.contains("PermissionDenied") && !log.contains("Unauthenticated"), "{log}");
    }

    let refused = |statuses: &[Status], wanted: &str| {
        let reasons: Vec<_> = statuses.iter().map(|status| Failure::from(status).reason).collect();
        assert!(reasons.iter().all(|reason| reason.as_deref() == Some(wanted)), "{statuses:?}");
    };
    let stranger = meddle(&system, &secrets, None).await;
    refused(&stranger, "UNAUTHENTICATED");
    let other = meddle(&system, &secrets, Some(OTHER)).await;
    refused(&other, "PERMISSION_DENIED");
    let operator = meddle(&system, &secrets, Some("operator")).await;
    refused(&operator, "PERMISSION_DENIED");
    assert_eq!(denied(&system).await.to_string(), "9");
    for (name, times) in [(EVENT_STORE, 1), (MESSAGE_QUEUE, 2)] {
        let log = system.log(name).unwrap();
        assert_eq!(log.lines().filter(|line| line.contains(OTHER)).count(), times, "{log}");
    }
}
