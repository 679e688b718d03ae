//! What to ask of each method, and who may.

use proto::messagequeue::v1 as pb;
use tonic::Code;

use super::guarded::CALLERS;
use crate::support::*;

/// A call that is right but for who makes it.
pub struct Row {
    pub request: Vec<u8>,
    /// Callers who may make it, and the right that it names to others.
    pub allowed: &'static [&'static str],
    pub right: &'static str,
    /// How it ends for those.
    pub ends: Code,
}

/// Who may, and what others are told to lack.
type Allowed = (&'static [&'static str], &'static str);

fn row(request: &impl prost::Message, (allowed, right): Allowed) -> Row {
    Row { request: request.encode_to_vec(), allowed, right, ends: Code::Ok }
}

/// What to ask of each method. One that is not here has no check, as far as this test knows.
pub fn request_of(method: &str, (receipt, id): (String, String)) -> Row {
    const SENDER: Allowed = (&["sender"], "send");
    const RECEIVER: Allowed = (&["receiver"], "receive");
    const ADMINISTRATOR: Allowed = (&["administrator"], "administer");
    const LOOKER: Allowed = (&["receiver", "administrator"], "receive");
    let queue = || "q".to_owned();
    let receipts = vec![receipt.clone()];
    let send = pb::SendRequest { queue: queue(), messages: vec![outgoing("x")], durability: 0 };
    let message = Some(message("x"));
    match method {
        "Send" | "SendStream" => row(&send, SENDER),
        "Call" => {
            let call = pb::CallRequest { queue: queue(), message, timeout: ms(1) };
            Row { ends: Code::DeadlineExceeded, ..row(&call, SENDER) }
        }
        "GetReply" => {
            let get = pb::GetReplyRequest { queue: queue(), message_id: id, wait: None };
            Row { ends: Code::DeadlineExceeded, ..row(&get, SENDER) }
        }
        "Receive" => {
            let receive = pb::ReceiveRequest { queue: queue(), ..Default::default() };
            row(&receive, RECEIVER)
        }
        "Consume" => {
            let open = pb::ConsumeOpen { queue: queue(), ..Default::default() };
            let message = Some(pb::consume_request::Message::Open(open));
            row(&pb::ConsumeRequest { message }, RECEIVER)
        }
        "Ack" => row(&pb::AckRequest { queue: queue(), receipts }, RECEIVER),
        "Nack" => {
            let nack = pb::NackRequest { queue: queue(), receipts, ..Default::default() };
            row(&nack, RECEIVER)
        }
        "Extend" => {
            let extend = pb::ExtendRequest { queue: queue(), receipts, by: None };
            row(&extend, RECEIVER)
        }
        "Reply" => {
            let reply = Some(reply_text("y"));
            let reply = pb::ReplyRequest { queue: queue(), receipt, reply };
            row(&reply, RECEIVER)
        }
        "GetQueue" => row(&pb::GetQueueRequest { queue: queue() }, (&CALLERS, "receive")),
        "PeekMessages" => {
            let peek = pb::PeekMessagesRequest { queue: queue(), ..Default::default() };
            row(&peek, LOOKER)
        }
        "ListDeadLetters" => {
            let list = pb::ListDeadLettersRequest { queue: queue(), ..Default::default() };
            row(&list, LOOKER)
        }
        "CreateQueue" => {
            let create = pb::CreateQueueRequest { queue: queue(), settings: None };
            row(&create, ADMINISTRATOR)
        }
        "UpdateQueue" => {
            let settings = Some(pb::QueueSettings::default());
            row(&pb::UpdateQueueRequest { queue: queue(), settings }, ADMINISTRATOR)
        }
        // The only field that these need is the queue, which is the first of each.
        "DeleteQueue" | "PurgeQueue" | "PauseQueue" | "ResumeQueue" | "RedriveDeadLetters"
        | "DeleteDeadLetters" => row(&pb::DeleteQueueRequest { queue: queue() }, ADMINISTRATOR),
        new => panic!("{new} is not in this table: which right does it need?"),
    }
}
