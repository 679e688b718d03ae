//! The limit of gRPC before Redis: a service that adds what it gets to a Redis Stream, one command
//! for one call, hands it on and answers. It checks nothing, batches nothing, leases nothing, and
//! remembers nothing for those who ask again or come to another replica.
//!
//! Whatever a service promises, it can't answer once Redis has something with less than this.
//!
//! What is asked to be kept goes through the scripts of a Call rather than through `XADD`: then it
//! is the least that a service takes for a Call, as long as these are what its promises need.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redis_link::{Link, cmd};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::echo::v1::Payload;
use super::echo::v1::bare_server::{Bare, BareServer};
use super::{call_scripts::CallScripts, raw, serving};

/// What may be on its way to the one who watches.
const WATCHED: usize = 1_024;

struct Service {
    link: Link,
    scripts: CallScripts,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watcher: Option<mpsc::Sender<Result<Payload, Status>>>,
    asked: HashMap<u64, Asked>,
    last: u64,
}

struct Asked {
    says: oneshot::Sender<Payload>,
    /// What it is kept as.
    id: Option<String>,
}

impl Service {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn add(&self, payload: &Payload) -> Result<(), Status> {
        let mut add = cmd("XADD");
        add.arg("bench:bare").arg("*").arg("e").arg(&payload.data[..]);
        let added = self.link.query(&add).await;
        added.map(drop).map_err(|error| refused(&error))
    }

    async fn show(&self, payload: Payload) {
        let watcher = self.state().watcher.clone();
        if let Some(watcher) = watcher {
            // It may have gone.
            let _ = watcher.send(Ok(payload)).await;
        }
    }
}

#[tonic::async_trait]
impl Bare for Service {
    async fn put(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        let payload = request.into_inner();
        self.add(&payload).await?;
        self.show(payload).await;
        Ok(Response::new(Payload::default()))
    }

    type WatchStream = ReceiverStream<Result<Payload, Status>>;

    async fn watch(
        &self,
        _request: Request<Payload>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (watcher, watched) = mpsc::channel(WATCHED);
        self.state().watcher = Some(watcher);
        Ok(Response::new(ReceiverStream::new(watched)))
    }

    async fn ask(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        let mut payload = request.into_inner();
        let id = if payload.kept {
            Some(self.scripts.send(payload.data.clone()).await.map_err(|error| refused(&error))?)
        } else {
            self.add(&payload).await?;
            None
        };
        let (says, said) = oneshot::channel();
        {
            let mut state = self.state();
            state.last += 1;
            payload.number = state.last;
            state.asked.insert(payload.number, Asked { says, id });
        }
        self.show(payload).await;
        said.await.map(Response::new).map_err(|_| Status::aborted("it was not answered"))
    }

    async fn answer(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        let payload = request.into_inner();
        let asked = self.state().asked.remove(&payload.number);
        match asked.as_ref().and_then(|asked| asked.id.as_deref()) {
            Some(id) => {
                let replied = self.scripts.reply(id, &payload.data).await;
                replied.map_err(|error| refused(&error))?;
            }
            None => self.add(&payload).await?,
        }
        // The one who asked may have gone.
        let _ = asked.map(|asked| asked.says.send(payload));
        Ok(Response::new(Payload::default()))
    }
}

fn refused(error: &dyn Display) -> Status {
    Status::unavailable(error.to_string())
}

/// Serves on `address` until the process is killed.
///
/// # Errors
/// When it can't listen, or Redis can't be reached.
pub async fn serve(address: SocketAddr, redis_url: &str) -> anyhow::Result<()> {
    let link = raw::connect(redis_url).await?;
    let scripts = CallScripts::at(link.clone(), "bare").await?;
    let service = Service { link, scripts, state: Mutex::default() };
    serving::serve(address, Routes::new(BareServer::new(service))).await
}
