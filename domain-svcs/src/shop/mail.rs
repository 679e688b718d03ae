//! mail-service: sends mails, and records each as a `mail_sent` event.

use serde_json::{Value, json};

use crate::model::{EventType, MAIL_TOPIC, Violation};
use crate::service::{
    Command, Commands, EventLog, Expect, Failure, NewEvent, Reply, Service, unknown,
};

/// Mails are sent one after the other, which keeps each customer's in order.
const AT_ONCE: u32 = 1;

struct Mails {
    log: EventLog,
}

impl Commands for Mails {
    async fn handle(&self, command: &Command) -> Result<Reply, Failure> {
        if command.name != "send" {
            return Err(unknown(command));
        }
        let to = text(&command.body, "to")?;
        let msg = text(&command.body, "msg")?;
        let id = command.cause.step("mail");
        let sent = NewEvent {
            id: command.cause.step("mail sent"),
            kind: EventType::MailSent,
            subject: id.clone(),
            data: json!({ "to": to, "msg": msg }),
        };
        // On conflict it was sent before, however long ago.
        let expect = vec![Expect::Nothing(id)];
        self.log.append(MAIL_TOPIC, &command.cause, vec![sent], expect).await?;
        Ok(Reply::of(true.into()))
    }
}

fn text<'a>(body: &'a Value, field: &str) -> Result<&'a str, Failure> {
    body[field].as_str().filter(|text| !text.trim().is_empty()).ok_or_else(|| {
        Failure::invalid(vec![Violation {
            field: field.to_owned(),
            description: "must be text that is not empty".to_owned(),
        }])
    })
}

/// Runs the service.
///
/// # Errors
/// When it cannot go on.
pub async fn run(mut service: Service) -> anyhow::Result<()> {
    let log = service.clients().log();
    service.owns_topic(MAIL_TOPIC);
    service.commands_at_once(AT_ONCE, Mails { log });
    service.run().await
}
