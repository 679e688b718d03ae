//! Three replicas of each front service on one Redis, each a process of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use redis_link::test_util::PrivateRedis;
use system_tests::ports::Port;
use system_tests::process::Process;
use system_tests::system::STOP_LIMIT;
use system_tests::topology::{EVENT_STORE, MESSAGE_QUEUE, Member, Places};
use system_tests::watch;
use tempfile::TempDir;

const REPLICAS: usize = 3;
const READY_LIMIT: Duration = Duration::from_secs(30);

pub struct Fleet {
    // Programs end before the Redis that they use.
    replicas: Vec<Replica>,
    _redis: PrivateRedis,
    logs: TempDir,
}

struct Replica {
    service: &'static str,
    port: Port,
    member: Member,
    process: Option<Process>,
}

impl Fleet {
    pub async fn start() -> Self {
        let (redis, logs) = (PrivateRedis::start_durable(), TempDir::new().unwrap());
        let places = Places {
            redis_url: redis.url(),
            event_store_url: String::new(),
            message_queue_url: String::new(),
            orphaned: Signal::SIGKILL,
        };
        let mut replicas = Vec::new();
        // Taking turns: both services have one that stops after the other.
        for number in 1..=REPLICAS {
            for service in [EVENT_STORE, MESSAGE_QUEUE] {
                let port = Port::reserve().unwrap();
                let mut member = places.front(service, &port.address(), "off").unwrap();
                member.plan.name = format!("{service}.{number}");
                let mut replica = Replica { service, port, member, process: None };
                replica.start(logs.path()).await;
                replicas.push(replica);
            }
        }
        Self { replicas, _redis: redis, logs }
    }

    pub fn urls(&self, service: &str) -> Vec<String> {
        let own = self.replicas.iter().filter(|replica| replica.service == service);
        own.map(|replica| replica.port.url()).collect()
    }

    pub fn len(&self) -> usize {
        self.replicas.len()
    }

    /// SIGTERM for one, which ends by itself and is started again once it has. Answers its name and
    /// how long it took to end.
    pub async fn restart(&mut self, index: usize) -> (String, Duration) {
        let logs = self.logs.path().to_owned();
        let replica = &mut self.replicas[index];
        let mut process = replica.process.take().unwrap();
        let began = Instant::now();
        let status = process.stop(STOP_LIMIT).await.unwrap();
        let took = began.elapsed();
        assert!(status.success(), "{} ended with {status}: {}", process.name(), process.tail(20));
        replica.start(&logs).await;
        (process.name().to_owned(), took)
    }
}

impl Replica {
    async fn start(&mut self, logs: &Path) {
        self.process = Some(Process::start(&self.member.plan, logs).unwrap());
        let probe = &self.member.probe;
        let name = &self.member.plan.name;
        watch::until(name, READY_LIMIT, || probe.check()).await.unwrap();
    }
}
