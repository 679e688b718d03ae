//! Turns of tasks.

use std::future::poll_fn;
use std::task::Poll;

/// Lets the tasks go first that are ready to run: what came in one read of a socket comes to its
/// handlers one task after the other. Where there are none it takes no time.
pub async fn others_turn() {
    let mut had = false;
    poll_fn(|context| {
        if std::mem::replace(&mut had, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
