//! A whole system for one test: a private Redis, the real programs on free ports, and all of it
//! gone with the test. When a test fails, the ends of all logs are printed.

mod more;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;
use redis_link::test_util::PrivateRedis;
use tempfile::TempDir;

use crate::clients::Clients;
use crate::health::Probe;
use crate::ports::Port;
use crate::process::Process;
use crate::rest::Rest;
use crate::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE, Member, Places, WORKERS};
use crate::watch;

/// How long programs may take to be ready, on a machine that is busy with other tests.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// The promised limit of a shutdown.
pub const STOP_LIMIT: Duration = Duration::from_secs(25);
/// The address of a service that is not part of a system: nothing answers there.
const NOWHERE: &str = "http://127.0.0.1:9";
/// How much of each log a failed test shows.
const TAIL_LINES: usize = 25;

/// The running system.
#[derive(Debug)]
pub struct System {
    // Programs end before the Redis that they use, and that before the folder of the logs.
    members: BTreeMap<String, Running>,
    ports: BTreeMap<String, Port>,
    /// Of front services that have one.
    admin_ports: BTreeMap<String, Port>,
    redis: PrivateRedis,
    places: Places,
    logs: TempDir,
}

#[derive(Debug)]
struct Running {
    member: Member,
    process: Option<Process>,
}

impl System {
    /// Both services, without the shop, on a Redis that syncs every write to disk.
    ///
    /// # Errors
    /// When something can't be started.
    pub async fn services() -> anyhow::Result<Self> {
        Self::services_on(PrivateRedis::start_durable()).await
    }

    /// Both services on a Redis of the test's choice.
    ///
    /// # Errors
    /// When something can't be started.
    pub async fn services_on(redis: PrivateRedis) -> anyhow::Result<Self> {
        Self::of(redis, &[EVENT_STORE, MESSAGE_QUEUE]).await
    }

    /// Everything: the services and the whole shop.
    ///
    /// # Errors
    /// When something can't be started.
    pub async fn shop() -> anyhow::Result<Self> {
        let fronts = [EVENT_STORE, MESSAGE_QUEUE, GATEWAY];
        let all: Vec<&str> = fronts.into_iter().chain(WORKERS).collect();
        Self::of(PrivateRedis::start_durable(), &all).await
    }

    /// Only these programs, on a Redis of the test's choice.
    ///
    /// # Errors
    /// When something can't be started.
    pub async fn of(redis: PrivateRedis, names: &[&str]) -> anyhow::Result<Self> {
        Self::with_arguments(redis, names, &[]).await
    }

    /// The same with more arguments for some of them.
    ///
    /// # Errors
    /// When something can't be started.
    pub async fn with_arguments(
        redis: PrivateRedis,
        names: &[&str],
        arguments: &[(&str, &[&str])],
    ) -> anyhow::Result<Self> {
        Self::assemble(redis, names, arguments, "http://127.0.0.1").await
    }

    /// Puts it together and starts it. `host` is how the shop reaches the front services; over TLS
    /// they can only be asked on their admin ports whether they are ready.
    async fn assemble(
        redis: PrivateRedis,
        names: &[&str],
        arguments: &[(&str, &[&str])],
        host: &str,
    ) -> anyhow::Result<Self> {
        let (mut ports, mut admin_ports) = (BTreeMap::new(), BTreeMap::new());
        for name in names {
            ports.insert((*name).to_owned(), Port::reserve()?);
            if [EVENT_STORE, MESSAGE_QUEUE].contains(name) && host.starts_with("https:") {
                admin_ports.insert((*name).to_owned(), Port::reserve()?);
            }
        }
        let url = |name: &str| {
            let at = |port: &Port| format!("{host}:{}", port.number());
            ports.get(name).map_or(NOWHERE.to_owned(), at)
        };
        let places = Places {
            redis_url: redis.url(),
            event_store_url: url(EVENT_STORE),
            message_queue_url: url(MESSAGE_QUEUE),
            orphaned: Signal::SIGKILL,
        };
        let mut system = Self {
            members: BTreeMap::new(),
            ports,
            admin_ports,
            redis,
            places: places.clone(),
            logs: tempfile::Builder::new().prefix("system-").tempdir()?,
        };
        let of_worker = |name| Some((name, system.ports.get(name)?.address()));
        let workers: Vec<_> = WORKERS.into_iter().filter_map(of_worker).collect();
        for (name, port) in &system.ports {
            let listen = port.address();
            let mut member = match name.as_str() {
                EVENT_STORE | MESSAGE_QUEUE => match system.admin_ports.get(name) {
                    Some(admin) => Member {
                        probe: Probe::Http(admin.address()),
                        ..places.front(name, &listen, &admin.address())?
                    },
                    None => places.front(name, &listen, "off")?,
                },
                GATEWAY => places.gateway(&listen, &workers)?,
                _ => places.worker(name, &listen)?,
            };
            let more = arguments.iter().filter(|(program, _)| program == name);
            member.plan.args.extend(more.flat_map(|(_, more)| *more).map(OsString::from));
            let running = Running { member, process: None };
            system.members.insert(name.clone(), running);
        }
        system.start_all().await?;
        Ok(system)
    }

    async fn start_all(&mut self) -> anyhow::Result<()> {
        let names: Vec<String> = self.members.keys().cloned().collect();
        for name in &names {
            self.spawn(name)?;
        }
        for name in &names {
            self.ready(name).await?;
        }
        Ok(())
    }

    /// Starts a program that was stopped or killed, on the same port, and waits until it is ready.
    ///
    /// # Errors
    /// When it can't be started or does not get ready.
    pub async fn start(&mut self, name: &str) -> anyhow::Result<()> {
        self.spawn(name)?;
        self.ready(name).await
    }

    /// Waits until a program is ready.
    ///
    /// # Errors
    /// When it is not in time, or has ended.
    pub async fn ready(&mut self, name: &str) -> anyhow::Result<()> {
        let running = self.running(name)?;
        let probe = running.member.probe.clone();
        let process = running.process.as_mut().context("it was not started")?;
        tokio::select! {
            ready = watch::until(name, READY_LIMIT, || probe.check()) => ready,
            status = process.ended() => {
                anyhow::bail!("{name} ended by itself ({}): {}", status?, process.tail(TAIL_LINES))
            }
        }
    }

    /// Asks a program once whether it is ready.
    ///
    /// # Errors
    /// When it is not.
    pub async fn check(&self, name: &str) -> anyhow::Result<()> {
        let running = self.members.get(name).context("no such program")?;
        running.member.probe.check().await
    }

    /// Kills a program as kill -9 does.
    ///
    /// # Errors
    /// When it doesn't run.
    pub async fn kill9(&mut self, name: &str) -> anyhow::Result<()> {
        let mut process = self.take(name)?;
        process.kill9().await
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it doesn't run, or does not stop within [`STOP_LIMIT`].
    pub async fn stop(&mut self, name: &str) -> anyhow::Result<ExitStatus> {
        let mut process = self.take(name)?;
        process.stop(STOP_LIMIT).await
    }

    /// Sends a signal to a program.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn signal(&self, name: &str, signal: Signal) -> anyhow::Result<()> {
        let running = self.members.get(name).context("no such program")?;
        let process = running.process.as_ref().context("it was not started")?;
        process.signal(signal)
    }

    /// Its Redis.
    pub fn redis(&mut self) -> &mut PrivateRedis {
        &mut self.redis
    }

    /// Where a program listens, as `http://…`.
    ///
    /// # Errors
    /// When it is not part of this system.
    pub fn url(&self, name: &str) -> anyhow::Result<String> {
        Ok(self.ports.get(name).context("no such program")?.url())
    }

    /// Stubs for both services; nothing answers for one that is not part of this system.
    ///
    /// # Errors
    /// Never: the addresses are valid.
    pub fn clients(&self) -> anyhow::Result<Clients> {
        let url = |name: &str| self.url(name).unwrap_or_else(|_| NOWHERE.to_owned());
        Clients::new(&url(EVENT_STORE), &url(MESSAGE_QUEUE))
    }

    /// The shop's REST API.
    ///
    /// # Errors
    /// When this system has no shop.
    pub fn rest(&self) -> anyhow::Result<Rest> {
        Rest::new(&self.url(GATEWAY)?)
    }

    /// Starts a program that was stopped or killed, without waiting for it.
    ///
    /// # Errors
    /// When it can't be started, or runs.
    pub fn spawn(&mut self, name: &str) -> anyhow::Result<()> {
        let logs = self.logs.path().to_owned();
        let running = self.running(name)?;
        anyhow::ensure!(running.process.is_none(), "{name} runs already");
        running.process = Some(Process::start(&running.member.plan, &logs)?);
        Ok(())
    }

    fn take(&mut self, name: &str) -> anyhow::Result<Process> {
        let running = self.running(name)?;
        running.process.take().context("it was not started")
    }

    fn running(&mut self, name: &str) -> anyhow::Result<&mut Running> {
        self.members.get_mut(name).with_context(|| format!("no program {name} in this system"))
    }
}

impl Drop for System {
    #[allow(clippy::print_stderr, reason = "a failed test explains itself")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for name in self.members.keys() {
            let log = self.logs.path().join(format!("{name}.log"));
            let tail = crate::process::tail(&log, TAIL_LINES);
            eprintln!("---- the end of {name}'s log\n{tail}");
        }
    }
}
