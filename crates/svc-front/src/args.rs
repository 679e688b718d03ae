//! The flags that both front services have.

use clap::Args;
use redis_link::RedisArgs;
use svc_observe::args::ObserveArgs;
use svc_runtime::config::RuntimeArgs;
use svc_security::SecurityArgs;

/// Flags of a service in front of Redis.
#[derive(Args, Clone, Debug)]
pub struct FrontArgs {
    /// Do not serve: print what is in force and where it comes from (secrets masked), read every file,
    /// and see whether Redis can be used. Ends with 0 if all is well, else with 1. Default: serve.
    #[arg(long, env = "CHECK")]
    pub check: bool,

    /// Redis.
    #[command(flatten)]
    pub redis: RedisArgs,

    /// TLS, who calls, what they may do, and how much.
    #[command(flatten)]
    pub security: SecurityArgs,

    /// Metrics, probes, traces.
    #[command(flatten)]
    pub observe: ObserveArgs,

    /// Logs and shutdown.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}
