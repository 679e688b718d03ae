//! Random bytes: on the port, and into the parser of events.

use std::time::Duration;

use event_store_svc::model::EventView;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost::Message as _;
use proto::eventstore::v1::Event;
use proto::eventstore::v1::event::Data;
use rand::{Rng as _, RngCore as _};
use redis_link::test_util::PrivateRedis;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::{Service, event};

/// What an HTTP/2 client says first, and its empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Strings on one connection, as long as it lasts.
const ON_ONE: usize = 20;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Something random: noise, or an HTTP/2 frame with noise in it.
fn string() -> Vec<u8> {
    let mut rng = rand::rng();
    let mut noise = vec![0; rng.random_range(1..200)];
    rng.fill_bytes(&mut noise);
    if rng.random_bool(0.5) {
        return noise;
    }
    let length = u32::try_from(noise.len()).unwrap().to_be_bytes();
    let kind = rng.random_range(0..12);
    let stream = rng.random_range(0..8u32).to_be_bytes();
    [&length[1..], &[kind, rng.random()], &stream, &noise].concat()
}

async fn shout(address: &str, strings: usize) {
    let mut stream = TcpStream::connect(address).await.expect("the port is open");
    if rand::random() {
        // The service may have closed already.
        let _ = stream.write_all(HELLO).await;
    }
    for _ in 0..strings {
        if stream.write_all(&string()).await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    // A reset is an answer too.
    let _ = read.await.expect("the service closes a connection that makes no sense");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_strings_on_the_port_do_no_harm() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let before = redis.cli(&["DBSIZE"]);
    let strings = number("RANDOM_STRINGS", 20_000);
    let address = service.url.trim_start_matches("http://");
    let mut shouting = JoinSet::new();
    for _ in 0..strings.div_ceil(ON_ONE) {
        if shouting.len() >= 50 {
            shouting.join_next().await.unwrap().unwrap();
        }
        let address = address.to_owned();
        shouting.spawn(async move { shout(&address, ON_ONE).await });
    }
    shouting.join_all().await;
    assert_eq!(redis.cli(&["DBSIZE"]), before);
    let after = service.append("t", vec![event("a", "s")]).await.unwrap();
    assert_eq!(after.first_sequence, 1);
    println!("{strings} random strings, and the service answers");
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    // Noise seldom gets past the first field, so most is noise in the shape of fields.
    let field = (0u8..12, prop::collection::vec(any::<u8>(), 0..12))
        .prop_map(|(tag, value)| crate::support::raw::field(tag, &value));
    let text = (1u8..10, "\\PC{0,8}")
        .prop_map(|(tag, value)| crate::support::raw::field(tag, value.as_bytes()));
    let part = prop_oneof![4 => text, 2 => field, 1 => prop::collection::vec(any::<u8>(), 0..6)];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn same(view: &EventView<'_>, event: &Event) -> bool {
    let data = event.data.as_ref().map(|data| match data {
        Data::BinaryData(data) => (&data[..], false),
        Data::TextData(text) => (text.as_bytes(), true),
    });
    let headers: std::collections::BTreeMap<String, String> =
        view.headers.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    view.id == event.id.as_deref()
        && view.event_type == event.r#type
        && view.source == event.source.as_deref()
        && view.subject == event.subject.as_deref()
        && view.content_type == event.content_type.as_deref()
        && view.time == event.time
        && headers == event.headers
        && view.data == data
}

#[test]
fn the_parser_of_events_agrees_with_the_generated_one() {
    let cases = u32::try_from(number("PROPERTY_CASES", 20_000)).unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let agreed = std::cell::Cell::new(0);
    let run = TestRunner::new(config).run(&bytes(), |bytes| {
        let (view, decoded) = (EventView::parse(&bytes), Event::decode(&bytes[..]));
        if let (Ok(view), Ok(decoded)) = (&view, &decoded) {
            prop_assert!(same(view, decoded), "{view:?} is not {decoded:?}");
            agreed.set(agreed.get() + 1);
        }
        // What is stored can be read by clients.
        prop_assert!(view.is_err() || decoded.is_ok(), "{view:?} but {decoded:?}");
        Ok(())
    });
    run.unwrap();
    assert!(agreed.get() > cases / 20, "only {} of {cases} were events at all", agreed.get());
}
