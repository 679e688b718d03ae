//! The admin port: probes, version, and what it says when it cannot be had.

use std::net::SocketAddr;

use serde_json::{Value, json};
use svc_observe::admin::bind;
use svc_observe::args::AdminListen;
use svc_runtime::health::Readiness;

use super::scraped::{Scraped, start};

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let response = reqwest::get(format!("http://{address}{path}")).await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn probes_tell_how_the_service_is() {
    let (readiness, _) = Readiness::new(&[]);
    let (_metrics, _admin, address) = start(10, readiness.clone()).await;
    for ready in [false, true, false, true] {
        readiness.set(ready);
        let expected = if ready { (200, "ready\n") } else { (503, "not ready\n") };
        assert_eq!(get(address, "/readyz").await, (expected.0, expected.1.to_owned()));
        assert_eq!(get(address, "/livez").await.0, 200);
    }
    let (status, version) = get(address, "/version").await;
    let version: Value = serde_json::from_str(&version).unwrap();
    assert_eq!((status, version), (200, json!({"service": "tested-svc", "version": "1.2.3"})));
    let (status, text) = get(address, "/").await;
    assert!(status == 404 && text.contains("/metrics"), "{status} {text}");
}

#[tokio::test]
async fn what_runs_is_a_metric() {
    let (_metrics, _admin, address) = start(10, Readiness::new(&[]).0).await;
    let scraped = Scraped::get(address).await;
    let labels = [("service", "tested-svc"), ("version", "1.2.3")];
    assert_eq!(scraped.value("build_info", &labels), Some(1.0));
}

#[tokio::test]
async fn a_taken_port_says_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = bind(AdminListen::On(address)).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address} for metrics")), "{error}");
    assert!(error.ends_with("choose another address with --admin-listen, or off"), "{error}");
    assert!(bind(AdminListen::Off).await.unwrap().is_none());
}

#[tokio::test]
async fn it_ends_when_it_is_stopped() {
    let (_metrics, admin, address) = start(10, Readiness::new(&[]).0).await;
    // A connection that stays open does not keep it.
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    assert_eq!(get(address, "/livez").await.0, 200);
    admin.stop().await;
    let error = tokio::net::TcpStream::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(idle);
}
