//! A replica as a process of its own.

use std::process::{Child, Command, Stdio};

use tonic::transport::Channel;

/// A running program; killed when dropped, or with the thread that started it.
pub struct Replica {
    port: u16,
    redis: String,
    process: Child,
}

impl Replica {
    pub fn start(redis: &str) -> Self {
        let port = redis_link::test_util::free_port();
        Self { port, redis: redis.to_owned(), process: spawn(port, redis) }
    }

    /// As the kernel's out-of-memory killer would; and a new one in its place.
    pub fn kill_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(self.port, &self.redis);
    }

    pub fn channel(&self) -> Channel {
        svc_runtime::client::channel(&format!("http://127.0.0.1:{}", self.port), 1).unwrap()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // Already gone is just as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16, redis: &str) -> Child {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_message-queue-svc")])
        .args(["--listen", &format!("127.0.0.1:{port}"), "--redis-url", redis])
        .args(["--admin-listen", "off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv (util-linux) can be started")
}
