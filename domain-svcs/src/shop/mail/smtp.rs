//! Handing mails to an SMTP server.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use svc_observe::context::TRACEPARENT;
use svc_runtime::config::duration;

use crate::service::{Cause, Failure};

/// How long the server may take to take a mail: less than a handler may.
const PATIENCE: Duration = Duration::from_secs(5);
const SUBJECT: &str = "News from OrderShop";
/// The environment variable of the password, which is no flag: the arguments of a
/// process are there for everyone to read.
const PASSWORD: &str = "SMTP_PASSWORD";

/// Where mails go.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Mail")]
pub struct SmtpArgs {
    /// The SMTP server: smtps://host for TLS, smtp://host:587?tls=required for
    /// STARTTLS, smtp://host:25 for neither. Without it mails are recorded and sent
    /// nowhere.
    #[arg(long, env = "SMTP_URL", hide_env_values = true)]
    pub smtp_url: Option<String>,

    /// Who to log in as at the SMTP server. The password is in the environment
    /// variable SMTP_PASSWORD, or in --smtp-password-file.
    #[arg(long, env = "SMTP_USER", requires = "smtp_url")]
    pub smtp_user: Option<String>,

    /// A file that holds the password, as secrets are mounted.
    #[arg(long, env = "SMTP_PASSWORD_FILE", requires = "smtp_user")]
    pub smtp_password_file: Option<PathBuf>,

    /// Who mails are from.
    #[arg(long, env = "MAIL_FROM", default_value = "OrderShop <shop@ordershop.example>", value_parser = mailbox)]
    pub mail_from: Mailbox,

    /// How often a mail that the server refuses is tried before it becomes a dead
    /// letter.
    #[arg(long, env = "MAIL_ATTEMPTS", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub mail_attempts: u32,

    /// The wait after the first refusal, as in `2s`; it doubles with each.
    #[arg(long, env = "MAIL_RETRY", default_value = "2s", value_parser = duration)]
    pub mail_retry: Duration,

    /// The longest wait between two attempts, as in `5m`.
    #[arg(long, env = "MAIL_RETRY_LONGEST", default_value = "5m", value_parser = duration)]
    pub mail_retry_longest: Duration,
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|error| format!("{error}: write it as in Shop <shop@example.com>"))
}

impl SmtpArgs {
    /// The server, if there is to be one. Nothing is connected yet.
    ///
    /// # Errors
    /// What is wrong with the settings, without any secret in it.
    pub(super) fn connect(&self) -> anyhow::Result<Option<Smtp>> {
        let Some(url) = &self.smtp_url else {
            tracing::info!("mails are recorded and sent nowhere: there is no --smtp-url");
            return Ok(None);
        };
        ensure!(
            !url.contains('@'),
            "--smtp-url has a user or a password in it: give --smtp-user, and {PASSWORD} or \
             --smtp-password-file"
        );
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(|_| anyhow::anyhow!("--smtp-url is no address of an SMTP server, which looks like smtps://mail.example.com"))?
            .timeout(Some(PATIENCE));
        let server = match &self.smtp_user {
            None => server,
            Some(user) => {
                let secure = url.starts_with("smtps:") || url.contains("tls=required");
                ensure!(
                    secure || is_this_machine(url),
                    "a password is only sent over TLS: use smtps:// or ?tls=required in --smtp-url"
                );
                server.credentials(Credentials::new(user.clone(), self.password()?))
            }
        };
        Ok(Some(Smtp { server: server.build(), from: self.mail_from.clone() }))
    }

    fn password(&self) -> anyhow::Result<String> {
        if let Some(file) = &self.smtp_password_file {
            let text = std::fs::read_to_string(file).with_context(|| {
                format!("cannot read {} (--smtp-password-file)", file.display())
            })?;
            return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
        }
        match std::env::var(PASSWORD) {
            Ok(password) => Ok(password),
            Err(_) => bail!("--smtp-user needs {PASSWORD} or --smtp-password-file"),
        }
    }
}

fn is_this_machine(url: &str) -> bool {
    let host = url.split_once("://").map_or("", |(_, rest)| rest);
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| {
        host.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/', '?']))
    })
}

/// A mail to send.
pub(super) struct Mail<'a> {
    /// The same for the same mail, however often it is sent.
    pub(super) id: &'a str,
    pub(super) to: &'a str,
    pub(super) msg: &'a str,
    pub(super) cause: &'a Cause,
}

/// An SMTP server, and who mails are from.
pub(super) struct Smtp {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The transport knows the password.
        f.debug_struct("Smtp").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Smtp {
    /// Sends a mail.
    ///
    /// # Errors
    /// A refusal when it is no mail; otherwise it is to be tried again.
    pub(super) async fn send(&self, mail: &Mail<'_>) -> Result<(), Failure> {
        let message = self.message(mail)?;
        match tokio::time::timeout(PATIENCE, self.server.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let status = error.status().map(u16::from);
                tracing::warn!(mail = mail.id, status, %error, "the mail was not taken");
                Err(Failure::Transient(format!("the SMTP server did not take it: {error}")))
            }
            Err(_) => {
                Err(Failure::Transient(format!("the SMTP server took longer than {PATIENCE:?}")))
            }
        }
    }

    /// The mail, the same each time it is sent.
    fn message(&self, mail: &Mail<'_>) -> Result<Message, Failure> {
        let to = mail.to.parse().map_err(|error| Failure::field("to", format!("{error}")))?;
        let mut message = Message::builder()
            .message_id(Some(format!("<{}@{}>", mail.id, self.from.email.domain())))
            .from(self.from.clone())
            .to(to)
            .date(date(mail.cause))
            .subject(SUBJECT)
            .header(ContentType::TEXT_PLAIN);
        if let Some(traceparent) = &mail.cause.traceparent {
            let name = HeaderName::new_from_ascii_str(TRACEPARENT);
            message = message.raw_header(HeaderValue::new(name, traceparent.clone()));
        }
        message
            .body(mail.msg.to_owned())
            .map_err(|error| Failure::field("msg", format!("cannot be sent: {error}")))
    }
}

fn date(cause: &Cause) -> SystemTime {
    let time = cause.time.and_then(|time| SystemTime::try_from(time).ok());
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        smtp: SmtpArgs,
    }

    fn parse(args: &[&str]) -> SmtpArgs {
        Cli::try_parse_from([&["mail-service"], args].concat()).map(|cli| cli.smtp).unwrap()
    }

    #[tokio::test]
    async fn a_password_is_never_shown_and_never_sent_in_the_clear() {
        let in_the_url = parse(&["--smtp-url", "smtp://ann:hunter2@mail.example.com"]);
        let error = format!("{:#}", in_the_url.connect().unwrap_err());
        assert!(error.contains("--smtp-user") && !error.contains("hunter2"), "{error}");

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let file = file.path().to_str().unwrap();
        let user = ["--smtp-user", "ann", "--smtp-password-file", file];
        let clear = parse(&[&["--smtp-url", "smtp://mail.example.com:25"], &user[..]].concat());
        let error = format!("{:#}", clear.connect().unwrap_err());
        assert!(error.contains("TLS"), "{error}");
        for url in ["smtps://mail.example.com", "smtp://127.0.0.1:2525"] {
            let args = parse(&[&["--smtp-url", url], &user[..]].concat());
            assert_eq!(args.password().unwrap(), "hunter2");
            let smtp = args.connect().unwrap().unwrap();
            assert!(!format!("{smtp:?} {args:?}").contains("hunter2"));
        }
        assert!(!is_this_machine("smtp://127.0.0.1.example.com"));
    }

    #[tokio::test]
    async fn the_same_mail_is_the_same_bytes() {
        let smtp = parse(&["--smtp-url", "smtp://127.0.0.1:2525"]).connect().unwrap().unwrap();
        let time = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 };
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
        let cause = Cause { id: "c".into(), time: Some(time), traceparent: Some(traceparent) };
        let mail = Mail { id: "m", to: "ann@example.com", msg: "Dear Ann!\n\nHi", cause: &cause };
        let bytes = smtp.message(&mail).unwrap().formatted();
        assert_eq!(bytes, smtp.message(&mail).unwrap().formatted());
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("Message-ID: <m@ordershop.example>"), "{text}");
        assert!(text.contains("traceparent: 00-0af7651916cd43dd8448eb211c80319c"), "{text}");
        let nobody = Mail { to: "nobody", ..mail };
        assert!(smtp.message(&nobody).unwrap_err().is_refusal());
    }
}
