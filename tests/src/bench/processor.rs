//! What a row takes of the processor: of the load, of each process that it loads, and what is idle.

use std::time::Duration;

use anyhow::Context as _;

use super::load::WARM_UP;
use super::world::World;
use crate::process::TICKS_A_SECOND;

/// What a process must have computed to be told: others only wait.
const LEAST_CORES: f64 = 0.01;

/// What was at work, on an average.
#[derive(Clone, Debug, Default)]
pub struct Processor {
    /// Cores by the process, the load first.
    pub cores: Vec<(String, f64)>,
    /// The scripts that Redis ran in a second.
    pub scripts: Scripts,
    /// The part of all cores that did nothing.
    pub idle: f64,
}

/// Scripts, as Redis counts them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scripts {
    /// How many.
    pub calls: f64,
    /// Microseconds that they took, without receiving the call and sending the answer.
    pub us: f64,
    /// Microseconds of all other commands: where there are scripts alone, those that they make.
    pub commands_us: f64,
}

impl Scripts {
    /// Reads `INFO commandstats`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn of(info: &str) -> anyhow::Result<Self> {
        let mut all = Self::default();
        for line in info.lines() {
            let Some((name, stats)) = line.split_once(':') else { continue };
            let stat = |field: &str| {
                let mut stats = stats.split(',').filter_map(|stat| stat.split_once('='));
                let (_, value) =
                    stats.find(|(name, _)| *name == field).context("no such figure")?;
                Ok::<f64, anyhow::Error>(value.parse()?)
            };
            match name.strip_prefix("cmdstat_") {
                Some(name) if name.starts_with("eval") => {
                    all.calls += stat("calls")?;
                    all.us += stat("usec")?;
                }
                Some(_) => all.commands_us += stat("usec")?,
                None => {}
            }
        }
        Ok(all)
    }

    /// What came since, in a second.
    fn since(self, before: Self, seconds: f64) -> Self {
        Self {
            calls: (self.calls - before.calls) / seconds,
            us: (self.us - before.us) / seconds,
            commands_us: (self.commands_us - before.commands_us) / seconds,
        }
    }
}

/// Seconds computed until now.
struct Moment {
    processes: Vec<(String, f64)>,
    scripts: Scripts,
    idle: f64,
    all: f64,
}

/// Looks at `time` after the warm-up.
///
/// # Errors
/// When the kernel doesn't tell.
pub async fn used(world: &World, time: Duration) -> anyhow::Result<Processor> {
    tokio::time::sleep(WARM_UP).await;
    let before = Moment::now(world).await?;
    tokio::time::sleep(time).await;
    let after = Moment::now(world).await?;
    let all = after.all - before.all;
    let of = |((name, after), (_, before)): ((String, f64), (String, f64))| (name, after - before);
    #[allow(clippy::cast_precision_loss, reason = "a number of cores")]
    let cores = std::thread::available_parallelism()?.get() as f64;
    let processes = after.processes.into_iter().zip(before.processes).map(of);
    let processes = processes.map(|(name, seconds)| (name, seconds * cores / all));
    Ok(Processor {
        cores: processes.filter(|(_, cores)| *cores >= LEAST_CORES).collect(),
        scripts: after.scripts.since(before.scripts, all / cores),
        idle: (after.idle - before.idle) / all,
    })
}

impl Moment {
    async fn now(world: &World) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let times = line.split_whitespace().skip(1).take(8).map(str::parse::<f64>);
        let times = times.collect::<Result<Vec<_>, _>>()?;
        // user, nice, system, idle, …
        let idle = times.get(3).copied().unwrap_or_default() / TICKS_A_SECOND;
        let all = times.iter().sum::<f64>() / TICKS_A_SECOND;
        let scripts = world.scripts().await?;
        Ok(Self { processes: world.cpu_seconds()?, scripts, idle, all })
    }
}
