//! The tasks of this room: all end on one token, and all are waited for.

use std::future::Future;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Clone, Default)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// Runs a task until it ends or the node stops.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let until_stopped = self.stopping.clone().run_until_cancelled_owned(task);
        self.tracker.spawn(async move {
            // Whether it ended by itself is of interest to nobody.
            let _ = until_stopped.await;
        });
    }

    /// Runs a task that looks at [`Tasks::stopping`] itself, because it has something to do before it ends.
    pub(super) fn spawn_to_the_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    pub(super) fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    pub(super) async fn stop(&self) {
        self.stopping.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
