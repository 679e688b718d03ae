//! Connections of their own for commands that block (BRPOPLPUSH, WAIT), from
//! a bounded pool: on a shared connection they would hold up everybody.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool::{
    Runtime,
    managed::{self, Metrics, Object, Pool, PoolError, RecycleResult, TimeoutType, Timeouts},
};
use redis::{
    AsyncConnectionConfig, Cmd, ProtocolVersion, RedisError, Value, aio::MultiplexedConnection, cmd,
};
use tokio::time::timeout;

use crate::{
    Call, LinkError, RedisArgs,
    access::Access,
    link::{invoke, send},
    meter::Meter,
    sentinel::Place,
};

/// Makes connections for the pool, each as deadpool-redis does with what the files hold then, and
/// looks at them before they are used again.
#[derive(Debug)]
struct Manager {
    access: Access,
    config: AsyncConnectionConfig,
}

/// A connection of the pool.
#[derive(Debug)]
struct Pooled {
    connection: MultiplexedConnection,
    place: Place,
}

impl managed::Manager for Manager {
    type Type = Pooled;
    type Error = LinkError;

    async fn create(&self) -> Result<Pooled, LinkError> {
        let (client, place) = self.access.client(ProtocolVersion::RESP2).await?;
        let info = client.get_connection_info().clone();
        let connecting = async {
            deadpool_redis::Manager::new_with_config(info, self.config.clone())?.create().await
        };
        let connection = connecting.await;
        let connection =
            connection.map_err(|error: RedisError| LinkError::of_connecting(&error))?;
        Ok(Pooled { connection, place })
    }

    /// Not as deadpool-redis does it, which needs the right to UNWATCH.
    async fn recycle(&self, pooled: &mut Pooled, _: &Metrics) -> RecycleResult<LinkError> {
        if pooled.place.is_left() {
            return Err(LinkError::left().into());
        }
        Ok(send(&mut pooled.connection, &cmd("PING")).await.map(drop)?)
    }
}

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct Blocking {
    pool: Pool<Manager>,
    size: usize,
    /// How long an answer may take beyond the time that the command blocks.
    grace: Duration,
    connect_timeout: Duration,
    meter: Arc<Meter>,
}

impl Blocking {
    pub(crate) fn new(
        args: &RedisArgs,
        access: Access,
        meter: Arc<Meter>,
    ) -> Result<Self, LinkError> {
        let size = usize::from(args.redis_blocking_connections.max(1));
        // No response timeout: every call here brings its own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(args.redis_connect_timeout))
            .set_response_timeout(None);
        let pool = Pool::builder(Manager { access, config })
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| LinkError::of_connect(&error))?;
        Ok(Self {
            pool,
            size,
            grace: args.redis_response_timeout,
            connect_timeout: args.redis_connect_timeout,
            meter,
        })
    }

    /// The most connections there can be.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many connections are in use, and how many are open and idle.
    #[must_use]
    pub fn usage(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size.saturating_sub(status.available), status.available)
    }

    fn lend(&self, object: Object<Manager>) -> BlockingConnection {
        let (grace, meter) = (self.grace, Arc::clone(&self.meter));
        BlockingConnection { object: Some(object), grace, meter }
    }

    fn not_taken(&self, error: PoolError<LinkError>) -> LinkError {
        let error = match error {
            PoolError::Backend(error) => error,
            error => LinkError::of_connect(&error),
        };
        self.meter.failed(&error);
        error
    }

    /// A connection, as soon as one is free or can be opened.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`] when connecting fails or nothing became
    /// free within `wait`.
    pub async fn take(&self, wait: Duration) -> Result<BlockingConnection, LinkError> {
        let timeouts = Timeouts {
            wait: Some(wait),
            create: Some(self.connect_timeout),
            recycle: Some(self.connect_timeout),
        };
        let taken = self.pool.timeout_get(&timeouts).await;
        taken.map(|object| self.lend(object)).map_err(|error| self.not_taken(error))
    }

    /// Takes a connection that is free, or that may still be opened, without
    /// waiting for one to become free. `None`: all are in use.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`] when connecting fails.
    pub async fn try_take(&self) -> Result<Option<BlockingConnection>, LinkError> {
        let timeouts = Timeouts {
            wait: Some(Duration::ZERO),
            create: Some(self.connect_timeout),
            recycle: Some(self.connect_timeout),
        };
        match self.pool.timeout_get(&timeouts).await {
            Ok(object) => Ok(Some(self.lend(object))),
            Err(PoolError::Timeout(TimeoutType::Wait)) => Ok(None),
            Err(error) => Err(self.not_taken(error)),
        }
    }
}

impl std::fmt::Debug for Blocking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocking").field("status", &self.pool.status()).finish_non_exhaustive()
    }
}

/// A connection that only its owner uses. It goes back to the pool when
/// dropped, unless a command is still under way on it: then it is closed, or
/// the next user would be held up (and get its answer).
///
/// A blocking command that is given up may still be executed just before the
/// connection closes. What it moves must therefore be safe where it is moved
/// to: BRPOPLPUSH into a list that others look at, never BRPOP.
pub struct BlockingConnection {
    object: Option<Object<Manager>>,
    grace: Duration,
    meter: Arc<Meter>,
}

impl BlockingConnection {
    /// Sends a command that blocks for `block` at most.
    ///
    /// # Errors
    /// See [`LinkError`]. Not being answered within `block` plus the response
    /// timeout is [`LinkError::OutcomeUnknown`].
    pub async fn query_blocking(&mut self, cmd: &Cmd, block: Duration) -> Result<Value, LinkError> {
        let mut under_way = self.begin()?;
        let begun = Instant::now();
        let UnderWay { connection, place, .. } = &mut under_way;
        let answer = within(block + self.grace, place, send(connection, cmd)).await;
        self.meter.commanded(cmd, begun);
        self.finish(under_way, answer)
    }

    /// Sends a command that does not block.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn query(&mut self, cmd: &Cmd) -> Result<Value, LinkError> {
        self.query_blocking(cmd, Duration::ZERO).await
    }

    /// Calls a script over this very connection (WAIT only speaks of the
    /// writes of its own connection).
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn invoke(&mut self, call: &Call<'_>) -> Result<Value, LinkError> {
        let mut under_way = self.begin()?;
        let begun = Instant::now();
        let UnderWay { connection, place, .. } = &mut under_way;
        let answer = within(self.grace, place, invoke(connection, call)).await;
        Meter::called(call, begun);
        self.finish(under_way, answer)
    }

    /// Moves the connection out of `self` for as long as a command is under
    /// way: a future that is dropped in between leaves nothing to give back.
    fn begin(&mut self) -> Result<UnderWay, LinkError> {
        self.object.take().map(UnderWay::new).ok_or_else(LinkError::not_connected)
    }

    fn finish<T>(
        &mut self,
        under_way: UnderWay,
        answer: Result<T, LinkError>,
    ) -> Result<T, LinkError> {
        if let Err(error) = &answer {
            self.meter.failed(error);
        }
        match &answer {
            Err(error) if error.is_bad_connection() => drop(under_way),
            _ => self.object = under_way.done(),
        }
        answer
    }
}

impl std::fmt::Debug for BlockingConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockingConnection").finish_non_exhaustive()
    }
}

/// A pooled connection with a command on it: leaves the pool for good unless
/// it is declared done.
struct UnderWay {
    object: Option<Object<Manager>>,
    connection: MultiplexedConnection,
    place: Place,
}

impl UnderWay {
    fn new(object: Object<Manager>) -> Self {
        let (connection, place) = (object.connection.clone(), object.place.clone());
        Self { object: Some(object), connection, place }
    }

    fn done(mut self) -> Option<Object<Manager>> {
        self.object.take()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

/// An answer in time, from where the primary is.
async fn within(
    limit: Duration,
    place: &mut Place,
    asking: impl Future<Output = Result<Value, LinkError>>,
) -> Result<Value, LinkError> {
    tokio::select! {
        answer = timeout(limit, asking) => answer.unwrap_or_else(|_| Err(LinkError::timed_out())),
        () = place.left() => Err(LinkError::left()),
    }
}
