//! The life of the system: start in steps, watch, stop in reverse.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::future::{join_all, select_all};
use nix::sys::signal::Signal;
use system_tests::health::Probe;
use system_tests::process::{Plan, Process};
use system_tests::topology::{EVENT_STORE, MESSAGE_QUEUE, Member, Places, WORKERS, redis_server};
use system_tests::{programs, watch};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use crate::args::Args;
use crate::leftovers::Running;
use crate::owner;

/// How long a step may take until it is ready. Redis may have a lot of data to load.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How long a program may take to stop: its own limit is 25 s.
const STOP_LIMIT: Duration = Duration::from_secs(27);
/// How much of a dead program's log is shown.
const TAIL_LINES: usize = 12;

/// Runs until told to stop.
///
/// # Errors
/// What kept it from running, in one line; nothing is left running then.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let mut stop = Stop {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
    };
    let mut system = System::prepare(args).await?;
    let outcome = tokio::select! {
        outcome = system.start_and_watch(args) => outcome,
        () = stop.told() => Ok(()),
    };
    if let Err(error) = &outcome {
        println!("{error:#}");
    }
    println!("stopping");
    tokio::select! {
        () = system.stop() => {}
        () = stop.impatient() => {}
    }
    println!("stopped; the data is in {}", args.data_dir.display());
    outcome.map_err(|_| anyhow::anyhow!("it ended by itself, see above"))
}

struct Stop {
    interrupt: Signals,
    terminate: Signals,
}

impl Stop {
    async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Takes further signals while stopping; never ends.
    async fn impatient(&mut self) {
        loop {
            self.told().await;
            println!("still stopping, for {} s at most", 3 * STOP_LIMIT.as_secs());
        }
    }
}

struct System {
    running: Running,
    logs: PathBuf,
    places: Places,
    /// In the order they were started, by step.
    steps: Vec<Vec<Process>>,
}

impl System {
    async fn prepare(args: &Args) -> anyhow::Result<Self> {
        fs::create_dir_all(&args.data_dir)
            .with_context(|| format!("making {}", args.data_dir.display()))?;
        let data = args.data_dir.canonicalize()?;
        let folder = |name: &str| -> anyhow::Result<PathBuf> {
            let path = data.join(name);
            fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
            Ok(path)
        };
        folder("redis")?;
        let logs = folder("logs")?;
        let running = Running::lock(&folder("run")?)?;
        running.stop_leftovers().await?;
        owner::all_free(args)?;
        let host = |port| format!("http://127.0.0.1:{port}");
        Ok(Self {
            running,
            logs,
            places: Places {
                redis_url: format!("redis://127.0.0.1:{}", args.redis_port),
                event_store_url: host(args.event_store_port),
                message_queue_url: host(args.message_queue_port),
                orphaned: Signal::SIGTERM,
            },
            steps: Vec::new(),
        })
    }

    async fn start_and_watch(&mut self, args: &Args) -> anyhow::Result<()> {
        let started = Instant::now();
        let on = |port| format!("{}:{port}", args.bind_address);
        let redis = redis(args)?;
        let fronts = vec![
            self.places.front(EVENT_STORE, &on(args.event_store_port), &on(args.admin_port))?,
            self.places.front(
                MESSAGE_QUEUE,
                &on(args.message_queue_port),
                &on(args.admin_port + 1),
            )?,
        ];
        let workers: Vec<_> = WORKERS.into_iter().zip((args.health_port..).map(on)).collect();
        let mut shop = Vec::new();
        for (name, health) in &workers {
            shop.push(self.places.worker(name, health)?);
        }
        shop.push(self.places.gateway(&on(args.gateway_port), &workers)?);

        self.step("Redis", vec![redis]).await?;
        self.step("the event store and the message queue", fronts).await?;
        self.step("the shop", shop).await?;
        println!("{}", welcome(args, &self.logs, started.elapsed()));
        let dead = self.first_to_end().await;
        Err(dead)
    }

    /// Starts programs side by side, and returns when all of them are ready.
    async fn step(&mut self, what: &str, members: Vec<Member>) -> anyhow::Result<()> {
        println!("starting {what}");
        self.steps.push(Vec::new());
        let mut probes = Vec::new();
        for member in members {
            let process = Process::start(&member.plan, &self.logs)?;
            self.running.add(process.pid(), process.name())?;
            if let Some(step) = self.steps.last_mut() {
                step.push(process);
            }
            probes.push((member.plan.name, member.probe));
        }
        tokio::select! {
            ready = all_ready(&probes) => ready,
            dead = self.first_to_end() => Err(dead),
        }
    }

    /// Waits until any program ends, and says which and why, as far as its log tells.
    async fn first_to_end(&mut self) -> anyhow::Error {
        let ends = self.steps.iter_mut().flatten().map(|process| {
            Box::pin(async move {
                let status = process.ended().await;
                let status = status.map_or_else(|error| error.to_string(), |s| s.to_string());
                let (log, tail) = (process.log().display(), process.tail(TAIL_LINES));
                anyhow::anyhow!(
                    "{} ended by itself ({status}); the end of {log}:\n{tail}",
                    process.name()
                )
            })
        });
        select_all(ends).await.0
    }

    async fn stop(&mut self) {
        while let Some(mut step) = self.steps.pop() {
            let stops = step.iter_mut().map(|process| process.stop(STOP_LIMIT));
            for stopped in join_all(stops).await {
                if let Err(error) = stopped {
                    println!("{error:#}");
                }
            }
        }
        if let Err(error) = self.running.clear() {
            println!("{error:#}");
        }
    }
}

async fn all_ready(probes: &[(String, Probe)]) -> anyhow::Result<()> {
    let waits =
        probes.iter().map(|(name, probe)| watch::until(name, READY_LIMIT, || probe.check()));
    join_all(waits).await.into_iter().collect()
}

/// The same as a deployment needs.
const REDIS_CONFIG: &str = include_str!("../../../../deploy/redis.conf");

fn redis(args: &Args) -> anyhow::Result<Member> {
    let data = args.data_dir.canonicalize()?.join("redis");
    let config = data.join("redis.conf");
    fs::write(&config, REDIS_CONFIG)
        .with_context(|| format!("cannot write {}", config.display()))?;
    let port = args.redis_port.to_string();
    let settings = [["--port", &port], ["--bind", "127.0.0.1"], ["--daemonize", "no"]];
    let program = redis_server();
    if program.components().count() > 1 && !program.is_file() {
        bail!("REDIS_SERVER_BIN: {} is not there", program.display());
    }
    Ok(Member {
        plan: Plan {
            name: "redis".to_owned(),
            program,
            args: std::iter::once(config.into())
                .chain(settings.iter().flatten().map(Into::into))
                .chain(["--dir".into(), data.into_os_string()])
                .collect(),
            orphaned: Signal::SIGTERM,
        },
        probe: Probe::Redis(format!("127.0.0.1:{port}")),
    })
}

fn welcome(args: &Args, logs: &Path, took: Duration) -> String {
    let host = args.bind_address;
    let (store, queue) = (args.event_store_port, args.message_queue_port);
    let grpcurl =
        if programs::tool("grpcurl").is_ok() { "target/tools/bin/grpcurl" } else { "grpcurl" };
    let hint = if grpcurl == "grpcurl" {
        "   (no grpcurl? `make tools` builds it into target/tools/bin)"
    } else {
        ""
    };
    format!(
        "\nready after {took:.1?}\n\n\
         \x20 shop: page and REST  http://{host}:{gateway}\n\
         \x20 event-store-svc      {host}:{store}\n\
         \x20 message-queue-svc    {host}:{queue}\n\
         \x20 metrics              http://{host}:{admin}/metrics, http://{host}:{admin_queue}/metrics\n\
         \x20 Redis                127.0.0.1:{redis}, for the two services only\n\
         \x20 logs                 {logs}\n\n\
         try, in another terminal:{hint}\n\
         \x20 make demo\n\
         \x20 {grpcurl} -plaintext {host}:{store} list\n\
         \x20 {grpcurl} -plaintext -d '{{\"topic\":\"hello\",\"events\":[{{\"type\":\"greeted\",\"text_data\":\"hi\"}}]}}' {host}:{store} eventstore.v1.EventStore/Append\n\
         \x20 {grpcurl} -plaintext -d '{{\"topic\":\"hello\"}}' {host}:{store} eventstore.v1.EventStore/Read\n\n\
         Ctrl-C stops everything",
        admin = args.admin_port,
        admin_queue = args.admin_port + 1,
        gateway = args.gateway_port,
        redis = args.redis_port,
        logs = logs.display(),
    )
}
