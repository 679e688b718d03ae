//! What is under deploy/: everything that `scripts/deploy-check.sh` checks holds, each of its checks
//! notices when something is broken, and the services need no more of Redis than their user may.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use domain_svcs::scenario::{Options, play};
use redis_link::test_util::PrivateRedis;
use system_tests::programs;
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE, WORKERS};

fn check(deploy: &Path, names: &[&str]) -> Output {
    let root = programs::repository();
    Command::new(root.join("scripts/deploy-check.sh"))
        .args(names)
        .env("DEPLOY", deploy)
        .env("BIN_DIR", programs::folder().unwrap())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn everything_under_deploy_holds() {
    let output = check(&programs::repository().join("deploy"), &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).matches("all well").count(), 6, "{}", said(&output));
}

/// Something to break: in which file, what, how, which check has to notice, and what it has to name.
struct Break(&'static str, &'static str, &'static str, &'static str, &'static str);

const BREAKS: [Break; 18] = [
    Break("Dockerfile", "USER 65532:65532", "RUN cd / && ls", "dockerfile", "DL3003"),
    Break(
        "Dockerfile",
        "COPY domain-svcs domain-svcs\n",
        "",
        "dockerfile",
        "not the whole workspace",
    ),
    Break("compose.yaml", "restart: unless-stopped", "restrat: never", "compose", "restrat"),
    Break("compose.yaml", "  read_only: true\n", "", "compose", "redis has no read_only"),
    Break(
        "compose.yaml",
        "target: order-shop",
        "target: odrer-shop",
        "compose",
        "built from no target",
    ),
    Break(
        "kustomize/base/event-store-svc.yaml",
        "maxReplicas: 6",
        "maxReplicsa: 6",
        "kubernetes",
        "maxReplicsa",
    ),
    Break(
        "kustomize/components/redis/redis.yaml",
        "type: RuntimeDefault",
        "type: Unconfined",
        "kubernetes",
        "redis",
    ),
    Break(
        "kustomize/base/message-queue-svc.yaml",
        "terminationGracePeriodSeconds: 35",
        "terminationGracePeriodSeconds: 30",
        "kubernetes",
        "killed before its shutdown",
    ),
    Break(
        "kustomize/base/message-queue-svc.yaml",
        "clusterIP: None",
        "type: ClusterIP",
        "kubernetes",
        "not headless",
    ),
    Break(
        "kustomize/components/redis/redis.yaml",
        "messaging/redis-client: \"true\"",
        "app.kubernetes.io/part-of: messaging",
        "kubernetes",
        "more than the two services",
    ),
    Break("prometheus/rules.yml", "> 0.02", "> 0.2", "alerts", "HighErrorRate"),
    Break(
        "kustomize/secrets/kustomization.yaml",
        "name: auth-tokens",
        "name: auth-token",
        "kubernetes",
        "mounts Secret auth-tokens, which is not made",
    ),
    Break(
        "prometheus/rules.yml",
        "docs/operate.md#redisdown",
        "docs/operate.md#redis-down",
        "alerts",
        "RedisDown",
    ),
    Break(
        "grafana/dashboards/overview.json",
        "auth_denied_total",
        "auth_refused_total",
        "dashboards",
        "auth_refused_total is not in docs/metrics.md",
    ),
    Break(
        "grafana/dashboards/redis.json",
        "sum by (job, kind) (rate(",
        "sum by (job, kind) (rate((",
        "dashboards",
        "a query of a dashboard is none",
    ),
    Break(
        "kustomize/base/kustomization.yaml",
        "SHUTDOWN_DELAY",
        "SHUTDOWN_WAIT",
        "flags",
        "event-store-svc has no SHUTDOWN_WAIT",
    ),
    Break(
        "kustomize/components/security/arguments.yaml",
        "--auth-rules=",
        "--auth-rule=",
        "flags",
        "event-store-svc has no --auth-rule",
    ),
    Break("compose.yaml", "SMTP_URL", "SMPT_URL", "flags", "mail-service has no SMPT_URL"),
];

#[test]
fn what_is_broken_is_noticed_and_named() {
    let deploy = programs::repository().join("deploy");
    std::thread::scope(|scope| {
        for broken in &BREAKS {
            scope.spawn(|| notices(&deploy, broken));
        }
    });
}

fn notices(deploy: &Path, Break(file, from, to, name, names): &Break) {
    let copy = tempfile::tempdir().unwrap();
    let copied =
        Command::new("cp").arg("-r").arg(deploy).arg(copy.path()).status().expect("cp is there");
    assert!(copied.success());
    let deploy = copy.path().join("deploy");
    let path = deploy.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from:?}: break something else");
    std::fs::write(&path, text.replace(from, to)).unwrap();
    let output = check(&deploy, &[name]);
    let said = said(&output);
    assert!(!output.status.success(), "{name} does not notice {to:?} in {file}: {said}");
    assert!(said.contains(names), "{name} notices {to:?} in {file}, and does not name it: {said}");
}

#[tokio::test]
async fn what_the_services_may_in_redis_is_enough() {
    let file = programs::repository().join("deploy/kustomize/secrets/users.acl.template");
    let text = std::fs::read_to_string(file).unwrap();
    let user = text.lines().find(|line| line.starts_with("user messaging on #")).unwrap();
    // Behind the password: the same rules for everybody, so that nobody has to log in.
    let rules = user.split(' ').skip(4);
    let redis = PrivateRedis::start_durable();
    let set: Vec<&str> =
        ["ACL", "SETUSER", "default", "reset", "on", "nopass"].into_iter().chain(rules).collect();
    assert!(redis.cli(&set).contains("OK"), "{set:?}");
    assert!(redis.cli(&["FLUSHALL"]).contains("NOPERM"), "{user}");

    let everything: Vec<&str> =
        [EVENT_STORE, MESSAGE_QUEUE, GATEWAY].into_iter().chain(WORKERS).collect();
    let mut system = System::of(redis, &everything).await.unwrap();
    let url = system.url(GATEWAY).unwrap();
    let patience = Duration::from_secs(60);
    let options = Options { url, patience, mails: true, ..Options::default() };
    play(&options, |_| {}).await.unwrap();
    let errors = system.redis().cli(&["INFO", "errorstats"]);
    // The one that was refused above.
    assert!(errors.contains("errorstat_NOPERM:count=1\r"), "{errors}");
}
