//! What a test waits for in Redis itself.

use std::time::Duration;

use super::PrivateRedis;

const LIMIT: Duration = Duration::from_secs(15);

impl PrivateRedis {
    /// Waits until one client, and no other, waits in a blocking command.
    ///
    /// # Panics
    /// When it does not come to that.
    pub async fn until_blocked(&self) {
        let blocked = async {
            while !self.cli(&["INFO", "clients"]).contains("blocked_clients:1\r") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, blocked).await.expect("one client waits");
    }
}
