//! The shared connections: send a command, get its answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use redis::{Cmd, Pipeline, Value, aio::MultiplexedConnection};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use crate::{
    Bells, Blocking, Call, LinkError, RedisArgs, Rights,
    access::Access,
    meter::Meter,
    supervisor::{Change, Slot},
};

/// All that a service has of Redis. Cheap to clone; the connections close
/// with the last clone.
///
/// Shared connections speak RESP3 (it tells of lost connections at once):
/// commands whose answer is a map, such as HGETALL, answer `Value::Map`.
/// Scripts answer the same under both protocols.
#[derive(Clone, Debug)]
pub struct Link {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    slots: Vec<Arc<Slot>>,
    next: AtomicUsize,
    ready: watch::Receiver<bool>,
    generation: watch::Receiver<u64>,
    blocking: Blocking,
    bells: Bells,
    min_replicas: u16,
}

impl Link {
    /// Starts connecting; it does not wait, nor fail because Redis is down or a file is not there.
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the configuration can't be used at all.
    pub fn start(args: &RedisArgs) -> Result<Self, LinkError> {
        Self::start_with(args, Rights::default())
    }

    /// As [`Link::start`], for a service that needs these rights: a connection whose user lacks one
    /// does not count as up.
    ///
    /// # Errors
    /// When the configuration can't be used at all.
    pub fn start_with(args: &RedisArgs, rights: Rights) -> Result<Self, LinkError> {
        let access = Access::new(args);
        access.follow();
        let meter = Arc::new(Meter::default());
        let (changes, change_rx) = mpsc::unbounded_channel();
        let slots = (0..usize::from(args.redis_connections.max(1)))
            .map(|index| {
                Slot::start(index, args, access.clone(), rights, meter.clone(), changes.clone())
            })
            .collect::<Vec<_>>();
        let (ready_tx, ready) = watch::channel(false);
        let (generation_tx, generation) = watch::channel(0);
        tokio::spawn(follow_changes(slots.len(), change_rx, ready_tx, generation_tx));
        Ok(Self {
            inner: Arc::new(Inner {
                slots,
                next: AtomicUsize::new(0),
                ready,
                generation,
                blocking: Blocking::new(args, access.clone(), meter.clone())?,
                bells: Bells::start(access, args.redis_connect_timeout, meter),
                min_replicas: args.redis_min_replicas,
            }),
        })
    }

    /// Whether Redis can be asked: a shared connection is up.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.inner.ready.clone()
    }

    /// Counts up whenever Redis was reached anew: what it had only in memory
    /// may be gone.
    #[must_use]
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.inner.generation.clone()
    }

    /// Connections for blocking commands.
    #[must_use]
    pub fn blocking(&self) -> &Blocking {
        &self.inner.blocking
    }

    /// Pub/sub.
    #[must_use]
    pub fn bells(&self) -> &Bells {
        &self.inner.bells
    }

    /// How many replicas must confirm a replicated write; 0: none is set up.
    #[must_use]
    pub fn min_replicas(&self) -> u16 {
        self.inner.min_replicas
    }

    /// Always the same connection for the same number, while that one is up:
    /// the calls of one task stay together. (They stay in order anyway, if
    /// the task waits for each answer.)
    #[must_use]
    pub fn lane(&self, number: u64) -> Lane {
        let count = self.inner.slots.len() as u64;
        // Less than the number of slots, which is a usize.
        let start = usize::try_from(number % count).unwrap_or(0);
        Lane { link: self.clone(), start }
    }

    /// Sends a command over any shared connection. Not for blocking commands.
    ///
    /// # Errors
    /// See [`LinkError`]; an error answer is an error too.
    pub async fn query(&self, cmd: &Cmd) -> Result<Value, LinkError> {
        self.any().query(cmd).await
    }

    /// Sends a command that Redis need not know or allow: then there is no answer, and nothing is
    /// wrong with the connection.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn query_if_allowed(&self, cmd: &Cmd) -> Result<Option<Value>, LinkError> {
        self.any().query_if_allowed(cmd).await
    }

    /// Sends commands at once, and answers once all are answered.
    ///
    /// # Errors
    /// See [`LinkError`]; the first error answer is the error of all.
    pub async fn pipeline(&self, pipeline: &Pipeline) -> Result<Vec<Value>, LinkError> {
        self.any().pipeline(pipeline).await
    }

    /// Calls a script over any shared connection.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn invoke(&self, call: &Call<'_>) -> Result<Value, LinkError> {
        self.any().invoke(call).await
    }

    /// Calls a script over the connection that `number` belongs to.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn invoke_on(&self, number: u64, call: &Call<'_>) -> Result<Value, LinkError> {
        self.lane(number).invoke(call).await
    }

    /// The connection that calls with this number go over at the moment, if any is up. It is never
    /// the number of another one, also when one took its place.
    #[must_use]
    pub fn connection(&self, number: u64) -> Option<u64> {
        let count = self.inner.slots.len() as u64;
        let start = usize::try_from(number % count).unwrap_or(0);
        let (index, slot) = self.slots_from(start).find(|(_, slot)| slot.is_up())?;
        let (epoch, _) = slot.get()?;
        Some(epoch * count + index as u64)
    }

    /// Calls a script over this very connection: what is sent over one is executed in order, and
    /// nothing of it if it is not executed up to there. None: the connection is no longer there,
    /// and nothing was sent.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn invoke_over(
        &self,
        connection: u64,
        call: &Call<'_>,
    ) -> Option<Result<Value, LinkError>> {
        let count = self.inner.slots.len() as u64;
        let slot = &self.inner.slots[usize::try_from(connection % count).unwrap_or(0)];
        let (epoch, shared) = slot.get().filter(|(epoch, _)| *epoch == connection / count)?;
        Some(SlotRef { slot }.invoke_over(epoch, shared, call).await)
    }

    fn any(&self) -> SlotRef<'_> {
        self.starting_at(self.inner.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The first one that is up: while one is being replaced the others serve.
    fn starting_at(&self, start: usize) -> SlotRef<'_> {
        let up = self.slots_from(start).find(|(_, slot)| slot.is_up());
        let slot = up.map_or(&self.inner.slots[start % self.inner.slots.len()], |(_, slot)| slot);
        SlotRef { slot }
    }

    /// All of them, beginning with this one.
    fn slots_from(&self, start: usize) -> impl Iterator<Item = (usize, &Arc<Slot>)> {
        let slots = &self.inner.slots;
        (0..slots.len()).map(move |step| {
            let index = start.wrapping_add(step) % slots.len();
            (index, &slots[index])
        })
    }
}

/// A preference for one of the shared connections.
#[derive(Clone, Debug)]
pub struct Lane {
    link: Link,
    start: usize,
}

impl Lane {
    /// As [`Link::query`], over this connection.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn query(&self, cmd: &Cmd) -> Result<Value, LinkError> {
        self.link.starting_at(self.start).query(cmd).await
    }

    /// As [`Link::pipeline`], over this connection.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn pipeline(&self, pipeline: &Pipeline) -> Result<Vec<Value>, LinkError> {
        self.link.starting_at(self.start).pipeline(pipeline).await
    }

    /// As [`Link::invoke`], over this connection.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn invoke(&self, call: &Call<'_>) -> Result<Value, LinkError> {
        self.link.starting_at(self.start).invoke(call).await
    }
}

struct SlotRef<'a> {
    slot: &'a Slot,
}

impl SlotRef<'_> {
    fn current(&self) -> Result<(u64, MultiplexedConnection), LinkError> {
        self.slot.get().ok_or_else(|| self.counted(LinkError::not_connected()))
    }

    async fn query(&self, cmd: &Cmd) -> Result<Value, LinkError> {
        let (epoch, answer) = self.sent(cmd).await?;
        self.judge(epoch, answer)
    }

    async fn query_if_allowed(&self, cmd: &Cmd) -> Result<Option<Value>, LinkError> {
        let (epoch, answer) = self.sent(cmd).await?;
        self.judge(epoch, if_allowed(answer))
    }

    /// What Redis answered, still to be judged, and over which connection.
    async fn sent(&self, cmd: &Cmd) -> Result<(u64, Result<Value, LinkError>), LinkError> {
        let (epoch, mut connection) = self.current()?;
        let begun = Instant::now();
        let answer = send(&mut connection, cmd).await;
        self.slot.meter().commanded(cmd, begun);
        Ok((epoch, answer))
    }

    async fn invoke(&self, call: &Call<'_>) -> Result<Value, LinkError> {
        let (epoch, connection) = self.current()?;
        self.invoke_over(epoch, connection, call).await
    }

    async fn invoke_over(
        &self,
        epoch: u64,
        mut connection: MultiplexedConnection,
        call: &Call<'_>,
    ) -> Result<Value, LinkError> {
        let begun = Instant::now();
        let answer = invoke(&mut connection, call).await;
        Meter::called(call, begun);
        self.judge(epoch, answer)
    }

    async fn pipeline(&self, pipeline: &Pipeline) -> Result<Vec<Value>, LinkError> {
        let (epoch, mut connection) = self.current()?;
        let begun = Instant::now();
        let answers = connection.send_packed_commands(pipeline, 0, pipeline.len()).await;
        self.slot.meter().piped(begun);
        let answers = answers.map_err(|error| LinkError::of_call(&error));
        let answers = self.judge(epoch, answers)?;
        for answer in &answers {
            if let Value::ServerError(error) = answer {
                return self.judge(epoch, Err(LinkError::of_answer(error)));
            }
        }
        Ok(answers)
    }

    /// Has a bad connection replaced, and counts what failed.
    fn judge<T>(&self, epoch: u64, result: Result<T, LinkError>) -> Result<T, LinkError> {
        match &result {
            Err(error) if error.is_bad_connection() => self.slot.fault(epoch, "a call failed"),
            _ => self.slot.answered(),
        }
        result.map_err(|error| self.counted(error))
    }

    fn counted(&self, error: LinkError) -> LinkError {
        self.slot.meter().failed(&error);
        error
    }
}

/// An answer that need not be there: nothing where Redis does not know the command, or forbids it.
pub(crate) fn if_allowed<T>(answer: Result<T, LinkError>) -> Result<Option<T>, LinkError> {
    match answer {
        Err(error) if error.is_refusal() => Ok(None),
        answer => answer.map(Some),
    }
}

/// Sends one command; an error answer is an error.
pub(crate) async fn send(
    connection: &mut MultiplexedConnection,
    cmd: &Cmd,
) -> Result<Value, LinkError> {
    match connection.send_packed_command(cmd).await {
        Ok(Value::ServerError(error)) => Err(LinkError::of_answer(&error)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(LinkError::of_call(&error)),
    }
}

/// Calls a script, loading it when Redis doesn't know it: NOSCRIPT means that
/// nothing ran, so calling it again is safe.
pub(crate) async fn invoke(
    connection: &mut MultiplexedConnection,
    call: &Call<'_>,
) -> Result<Value, LinkError> {
    let answer = send(connection, call.cmd()).await;
    if !is_unknown(&answer) {
        return answer;
    }
    debug!(script = call.script().name(), "loading a script");
    // Nothing of the call itself is under way: whatever happens while loading,
    // it was not executed.
    send(connection, &call.script().load()).await.map_err(|error| match error {
        LinkError::OutcomeUnknown(detail) => LinkError::Unavailable(detail),
        other => other,
    })?;
    let answer = send(connection, call.cmd()).await;
    if !is_unknown(&answer) {
        return answer;
    }
    // Somebody keeps flushing them: this way there is nothing to be forgotten.
    send(connection, &call.with_source()).await
}

/// Whether Redis doesn't know the script.
fn is_unknown(answer: &Result<Value, LinkError>) -> bool {
    answer.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT"))
}

/// Turns what the supervisors tell into readiness and generations.
async fn follow_changes(
    slots: usize,
    mut changes: mpsc::UnboundedReceiver<(usize, Change)>,
    ready: watch::Sender<bool>,
    generation: watch::Sender<u64>,
) {
    let mut up = vec![false; slots];
    while let Some((index, change)) = changes.recv().await {
        up[index] = change == Change::Up;
        if change == Change::Up {
            generation.send_modify(|generation| *generation += 1);
        }
        let any = up.contains(&true);
        ready.send_if_modified(|ready| std::mem::replace(ready, any) != any);
    }
}
