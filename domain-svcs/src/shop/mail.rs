//! mail-service: sends mails, and records each as a `mail_sent` event.
//!
//! Without `--smtp-url` the event is all there is. With it, a mail is handed to an
//! SMTP server first, and recorded once that has taken it. One that the server
//! refuses is tried again, later and later, and ends as a dead letter of the queue;
//! redriven, it is the same mail. The event is there once. The SMTP server gets the
//! mail once too, unless the service dies, or loses the server, after that has taken
//! the mail and before the event is stored: then it gets it again, byte for byte,
//! under the same `Message-ID`, by which mail systems drop the second.

mod smtp;

use clap::Parser;
use serde_json::{Value, json};
use svc_runtime::shutdown::Shutdown;

use crate::model::{EventType, MAIL_TOPIC};
use crate::service::{
    self, Command, Commands, EventLog, Expect, Failure, NewEvent, QueueOptions, Reply, Service,
    unknown,
};
use smtp::{Mail, Smtp, SmtpArgs};

/// The name of the service, which is its queue too.
pub const SERVICE: &str = "mail-service";

/// Mails that are sent at once. Those of one customer have an ordering key, and are
/// sent one after the other.
const AT_ONCE: u32 = 8;

/// The flags of mail-service.
#[derive(Clone, Debug, Parser)]
#[command(version, about = "Sends the mails of OrderShop", long_about = None)]
#[group(skip)]
pub struct Args {
    /// What every worker has.
    #[command(flatten)]
    pub service: service::Args,

    /// Where mails go.
    #[command(flatten)]
    pub smtp: SmtpArgs,
}

struct Mails {
    log: EventLog,
    smtp: Option<Smtp>,
}

impl Commands for Mails {
    async fn handle(&self, command: &Command) -> Result<Reply, Failure> {
        if command.name != "send" {
            return Err(unknown(command));
        }
        let to = text(&command.body, "to")?;
        let msg = text(&command.body, "msg")?;
        let id = command.cause.step("mail");
        if let Some(smtp) = &self.smtp {
            // This command may come again because it was sent, recorded, and not
            // acknowledged.
            if self.log.head(MAIL_TOPIC, &id).await?.is_some() {
                return Ok(Reply::of(true.into()));
            }
            smtp.send(&Mail { id: &id, to, msg, cause: &command.cause }).await?;
        }
        let data = json!({ "to": to, "msg": msg });
        let sent = NewEvent::new(command.cause.step("mail sent"), EventType::MailSent, &id, data);
        // On conflict it was sent before, however long ago.
        let expect = vec![Expect::Nothing(id)];
        self.log.append(MAIL_TOPIC, &command.cause, vec![sent], expect).await?;
        Ok(Reply::of(true.into()))
    }
}

fn text<'a>(body: &'a Value, field: &str) -> Result<&'a str, Failure> {
    let text = body[field].as_str().filter(|text| !text.trim().is_empty());
    text.ok_or_else(|| Failure::field(field, "must be text that is not empty"))
}

/// Runs the service.
///
/// # Errors
/// When the SMTP settings are wrong, or it cannot go on.
pub async fn start(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let smtp = args.smtp.connect()?;
    let mut service = Service::start(SERVICE, &args.service, shutdown)?;
    let log = service.clients().log();
    let options = QueueOptions {
        at_once: AT_ONCE,
        max_attempts: args.smtp.mail_attempts,
        first_retry: args.smtp.mail_retry,
        longest_retry: args.smtp.mail_retry_longest.max(args.smtp.mail_retry),
    };
    service.owns_topic(MAIL_TOPIC);
    service.commands_with(options, Mails { log, smtp });
    service.run().await
}
