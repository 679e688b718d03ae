//! A client that appends over streams and goes on whatever happens: what a stream did not answer is
//! repeated on the next one, with the same ids and in the same order.

use std::collections::VecDeque;

use proto::eventstore::v1::append_stream_response::Result as Answer;
use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::eventstore::v1::*;
use svc_runtime::rpc_error::status_of;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::event;

const SUBJECTS: usize = 64;

/// What one client has under way.
pub struct StreamWriter {
    pub topic: &'static str,
    /// Its name, the beginning of its ids.
    pub name: String,
    /// Requests that may be unanswered.
    pub window: usize,
    next: usize,
    unanswered: VecDeque<AppendRequest>,
}

impl StreamWriter {
    pub fn new(topic: &'static str, name: String, window: usize) -> Self {
        Self { topic, name, window, next: 0, unanswered: VecDeque::new() }
    }

    /// Whether everything that was sent is answered.
    pub fn is_done(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Appends over one stream while `more`, and then until all is answered. `answered` gets the
    /// ids of each request, and its answer.
    pub async fn write(
        &mut self,
        replica: Channel,
        more: impl Fn() -> bool,
        mut answered: impl FnMut(Vec<String>, AppendResponse),
    ) -> Result<(), Status> {
        let (say, requests) = mpsc::channel(self.window);
        for request in self.unanswered.iter().cloned() {
            say.try_send(request).expect("a window has room for what was not answered");
        }
        let opening = EventStoreClient::new(replica);
        let mut answers =
            { opening }.append_stream(ReceiverStream::new(requests)).await?.into_inner();
        let mut say = Some(say);
        loop {
            while more() && self.unanswered.len() < self.window {
                let Some(say) = &say else { break };
                let request = self.request();
                self.unanswered.push_back(request.clone());
                // A stream that ended says why on the other side.
                let _ = say.try_send(request);
            }
            if !more() {
                say = None;
            }
            let Some(answer) = answers.message().await? else {
                assert!(self.is_done() && say.is_none(), "a stream ended before all was answered");
                return Ok(());
            };
            match answer.result.unwrap() {
                Answer::Appended(answer) => {
                    let request = self.unanswered.pop_front().expect("an answer to a request");
                    let ids = request.events.into_iter().map(|event| event.id.unwrap());
                    answered(ids.collect(), answer);
                }
                // What was sent behind it is sent again after it.
                Answer::Error(status) => return Err(status_of(&status)),
            }
        }
    }

    /// The next one: one to three events of one of its own subjects: many, because an ordered group
    /// does those of one subject one after the other.
    fn request(&mut self) -> AppendRequest {
        let number = self.next;
        self.next += 1;
        let id = |n| format!("{}-{number}-{n}", self.name);
        let subject = format!("{}-{}", self.name, number % SUBJECTS);
        let events = (0..=number % 3).map(|n| event(&id(n), &subject)).collect();
        AppendRequest { topic: self.topic.into(), events, ..Default::default() }
    }
}
