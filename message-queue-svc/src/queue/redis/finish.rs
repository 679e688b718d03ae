//! Work that is not left in the middle: what Redis was asked to do, it does,
//! and what it answers has to be dealt with even if nobody waits any more.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// A future that runs where it is awaited, and goes on in the background if
/// that is given up.
pub struct Finish<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    tasks: TaskTracker,
}

impl<T: Send + 'static> Finish<T> {
    pub fn new(tasks: &TaskTracker, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(work)), tasks: tasks.clone() }
    }
}

impl<T: Send + 'static> Future for Finish<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Finish<T> {
    fn drop(&mut self) {
        // Without a runtime the process is ending.
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            self.tasks.spawn_on(work, &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_given_up_is_finished() {
        let tasks = TaskTracker::new();
        let (go, went) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let mut work = Finish::new(&tasks, async move {
            let _ = went.await;
            let _ = done.send(7);
        });
        assert!(futures::poll!(&mut work).is_pending());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(finished.await, Ok(7));
    }

    #[tokio::test]
    async fn what_is_awaited_is_not_done_twice() {
        let tasks = TaskTracker::new();
        assert_eq!(Finish::new(&tasks, async { 7 }).await, 7);
        assert!(tasks.is_empty());
    }
}
