//! Which flag is to blame when a connection cannot be made: told by kinds and codes, never by text.

use std::{error::Error, io, sync::Arc};

use redis::{ErrorKind, RedisError};
use rustls::{AlertDescription, CertificateError, Error as TlsError};

const LOGIN: &str = "--redis-username, --redis-password-file: have to be those of a user at redis";
const RIGHTS: &str = "--redis-username: has to be a user that may do what the services need";
const CA: &str = "--redis-ca: has to hold the CA that signed the certificate of redis";
const HOST: &str = "--redis-url: has to call redis by a name that its certificate has";
const CLIENT: &str =
    "--redis-cert, --redis-key: redis wants a valid certificate of a CA that it knows";
const NO_TLS: &str = "--redis-url: what is there speaks no TLS, which redis:// is for";
const SILENT: &str = "--redis-url: has to be where redis is, and begin with rediss:// if it speaks TLS, else \
     redis://; --redis-cert, --redis-key: are needed if redis asks for a certificate";
const NOBODY: &str = "--redis-url: has to be where redis is";
const EXPIRED: &str = "the certificate of redis is not valid at this time";

pub(super) fn of(error: &RedisError) -> Option<&'static str> {
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => Some(LOGIN),
        (_, Some("NOPERM")) => Some(RIGHTS),
        // What answers speaks something else.
        (ErrorKind::Parse, _) => Some(SILENT),
        _ => of_io(io_error(error)?),
    }
}

/// The library keeps it behind an `Arc`, and gives that as the source.
fn io_error(error: &RedisError) -> Option<&io::Error> {
    let source = error.source()?;
    let shared = source.downcast_ref::<Arc<dyn Error + Send + Sync>>();
    shared.map_or_else(|| source.downcast_ref(), |shared| shared.downcast_ref())
}

fn of_io(error: &io::Error) -> Option<&'static str> {
    if let Some(tls) = error.get_ref().and_then(|source| source.downcast_ref()) {
        return of_tls(tls);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Some(NOBODY),
        // Redis waits for the end of a line, which a client that speaks TLS does not send.
        io::ErrorKind::TimedOut
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => Some(SILENT),
        _ => None,
    }
}

fn of_tls(error: &TlsError) -> Option<&'static str> {
    match error {
        TlsError::InvalidCertificate(wrong) => Some(of_certificate(wrong)),
        TlsError::AlertReceived(alert) => of_alert(*alert),
        TlsError::InvalidMessage(_) => Some(NO_TLS),
        _ => None,
    }
}

fn of_certificate(wrong: &CertificateError) -> &'static str {
    match wrong {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => HOST,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => EXPIRED,
        _ => CA,
    }
}

fn of_alert(alert: AlertDescription) -> Option<&'static str> {
    match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::HandshakeFailure
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied
        | AlertDescription::UnknownCA => Some(CLIENT),
        _ => None,
    }
}
