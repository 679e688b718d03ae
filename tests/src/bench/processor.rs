//! What a row takes of the processor: of the load, of each process that it loads, and what is idle.

use std::time::Duration;

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
    /// Scripts that Redis ran, for a second.
    pub scripts: f64,
    /// The part of all cores that did nothing.
    pub idle: f64,
}

/// Seconds computed until now.
struct Moment {
    processes: Vec<(String, f64)>,
    scripts: f64,
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
        scripts: (after.scripts - before.scripts) * cores / all,
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
