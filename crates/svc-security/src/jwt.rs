//! JWTs: who signed one is looked up in `jwt/keys.rs`, where those keys come from is
//! `jwt/source.rs`; here is what has to be true of a token, and what happens with a key that is not
//! known yet.

pub(crate) mod keys;
pub(crate) mod source;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};
use svc_runtime::names::is_key;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, interval_at};

use crate::caller::{Authority, Caller};
use crate::crypto;
use crate::jwt::keys::{Keys, Known};
use crate::jwt::source::Source;
use crate::refusals::Reason;

/// Calls that may wait for new keys; more are refused at once.
const MOST_WAITING: usize = 1024;

/// How far the clocks of issuer and service may differ.
pub(crate) const LEEWAY: Duration = Duration::from_secs(60);

/// What has to be true of a token.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    /// The claim that names the caller.
    pub(crate) caller: String,
}

impl Expected {
    /// What the library is to check. Without a claim there is nothing to check: all are required.
    pub(crate) fn validation(&self, algorithms: &[jsonwebtoken::Algorithm]) -> Validation {
        let mut validation = Validation {
            algorithms: algorithms.to_vec(),
            leeway: LEEWAY.as_secs(),
            validate_nbf: true,
            ..Validation::default()
        };
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation
    }
}

/// What is said of a token.
#[derive(Debug)]
pub(crate) enum Verdict {
    Valid(Caller),
    Refused(Reason, String),
    /// Signed with a key that is not there: worth asking for the keys again.
    UnknownKey,
}

/// Checks JWTs.
pub(crate) struct Jwt {
    expected: Expected,
    source: Source,
    keys: ArcSwap<Keys>,
    /// When the keys were last asked for because a token named one that was not there.
    asked: Mutex<Option<Instant>>,
    /// Who may wait for that.
    waiting: Semaphore,
    /// How long not to ask again for that reason: anybody can name keys.
    pause: Duration,
    /// Whether the last time it could not be had: said once, not each time.
    failing: AtomicBool,
    authority: Arc<Authority>,
}

impl Jwt {
    /// With the keys that are there now.
    pub(crate) async fn start(
        expected: Expected,
        source: Source,
        pause: Duration,
        authority: Arc<Authority>,
    ) -> Result<Self, String> {
        let keys = Keys::parse(&source.fetch().await?, &expected)?;
        let (keys, asked) = (ArcSwap::from_pointee(keys), Mutex::new(None));
        let (waiting, failing) = (Semaphore::new(MOST_WAITING), AtomicBool::new(false));
        Ok(Self { expected, source, keys, asked, waiting, pause, failing, authority })
    }

    /// Whether the keys are in a file.
    pub(crate) fn is_of_file(&self) -> bool {
        self.source.is_file()
    }

    /// Whose token it is.
    pub(crate) fn verify(&self, token: &str) -> Verdict {
        let keys = self.keys.load();
        let digest = crypto::sha256(&[token.as_bytes()]);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(caller) = keys.known(&digest, now) {
            return Verdict::Valid(caller);
        }
        let Ok(header) = decode_header(token) else {
            let what = "the token is no JWT signed by RS, PS, ES or EdDSA";
            return Verdict::Refused(Reason::Malformed, what.to_owned());
        };
        if header.crit.is_some() {
            // RFC 7515, 4.1.11: what is critical and not understood makes a token invalid.
            let what = "the token names critical headers, of which none is understood";
            return Verdict::Refused(Reason::Malformed, what.to_owned());
        }
        if !keys::TAKEN.contains(&header.alg) {
            let what = "tokens signed by a shared secret are not taken, only RS, PS, ES and EdDSA";
            return Verdict::Refused(Reason::Algorithm, what.to_owned());
        }
        let Some(key) = keys.find(header.kid.as_deref(), header.alg) else {
            return Verdict::UnknownKey;
        };
        let claims: Map<String, Value> = match decode(token, &key.key, &key.validation) {
            Ok(token) => token.claims,
            Err(error) => {
                let (reason, what) = refusal(error.kind());
                return Verdict::Refused(reason, what);
            }
        };
        let claim = &self.expected.caller;
        let name = claims.get(claim).and_then(Value::as_str).filter(|name| is_key(name));
        let Some(name) = name else {
            let what = format!("the token's claim {claim} has to name the caller");
            return Verdict::Refused(Reason::Claim, what);
        };
        let caller = self.authority.caller(name);
        if let Some(expires) = claims.get("exp").and_then(Value::as_f64) {
            let until = Duration::try_from_secs_f64(expires).unwrap_or_default() + LEEWAY;
            keys.remember(digest, Known { caller: caller.clone(), until }, now);
        }
        Verdict::Valid(caller)
    }

    /// As [`Jwt::verify`], but a key that is not there is asked for, unless that was just done.
    pub(crate) async fn verify_with_new_keys(&self, token: &str) -> Verdict {
        if let Ok(_waiting) = self.waiting.try_acquire() {
            // Those that come meanwhile wait here, and then find what this one got.
            let mut asked = self.asked.lock().await;
            let verdict = self.verify(token);
            if !matches!(verdict, Verdict::UnknownKey) {
                return verdict;
            }
            if asked.is_none_or(|asked| asked.elapsed() >= self.pause) {
                *asked = Some(Instant::now());
                self.renew().await;
            }
        }
        self.verify(token)
    }

    /// Asks for the keys; what cannot be had or used leaves those that are there. Says whether it
    /// went well.
    pub(crate) async fn renew(&self) -> bool {
        let fetched = self.source.fetch().await;
        match fetched.and_then(|bytes| self.put(&bytes)) {
            Ok(()) => {
                self.failing.store(false, Ordering::Relaxed);
                true
            }
            Err(what) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%what, "cannot renew the keys of --jwt-keys, the last ones stay");
                }
                false
            }
        }
    }

    fn put(&self, bytes: &[u8]) -> Result<(), String> {
        if !self.keys.load().are(bytes) {
            let keys = Keys::parse(bytes, &self.expected)?;
            tracing::info!(keys = keys.len(), "using new keys for tokens");
            self.keys.store(Arc::new(keys));
        }
        Ok(())
    }

    /// Renews the keys every `period`; sooner where that went wrong.
    pub(crate) async fn keep_renewing(self: Arc<Self>, period: Duration) {
        let again = period.min(self.pause);
        let mut ticks = interval_at(Instant::now() + period, period);
        loop {
            ticks.tick().await;
            if !self.renew().await {
                ticks.reset_after(again);
            }
        }
    }
}

/// What is wrong with a token. It says nothing that whoever has the token cannot read in it.
fn refusal(error: &ErrorKind) -> (Reason, String) {
    let (reason, what) = match error {
        ErrorKind::ExpiredSignature => (Reason::Expired, "the token has expired: get a new one"),
        ErrorKind::ImmatureSignature => (Reason::NotYetValid, "the token is not valid yet"),
        ErrorKind::InvalidIssuer => (Reason::Issuer, "the token is of another issuer"),
        ErrorKind::InvalidAudience => (Reason::Audience, "the token is for another audience"),
        ErrorKind::InvalidSignature => (Reason::Signature, "the token's signature is wrong"),
        ErrorKind::InvalidAlgorithm => (Reason::Algorithm, "the token's key is of another kind"),
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            return (Reason::Claim, format!("the token's claim {claim} is missing or wrong"));
        }
        _ => (Reason::Malformed, "the token is no JWT that can be read"),
    };
    (reason, what.to_owned())
}
