//! All of it for one service: made of the flags, checked whole before anything binds.

use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::Stream;
use svc_runtime::incoming::Cuttable;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::args::{AuthMode, SecurityArgs};
use crate::caller::Authority;
use crate::connection::Connection;
use crate::files::{Watched, keep_looking};
use crate::incoming::{self, Incoming, MOST_HANDSHAKES};
use crate::jwt::source::Source;
use crate::jwt::{Expected, Jwt};
use crate::layer::{Auth, Gate, SecurityLayer};
use crate::limits::Buckets;
use crate::problem::{Problem, SecurityError, noted};
use crate::refusals::{Counts, Refusals};
use crate::rules::Rules;
use crate::tokens::Tokens;
use crate::{crypto, tls};

/// How often callers that have gone are forgotten.
const FORGET: Duration = Duration::from_secs(60);

/// How often things are looked at again. What the flags say is the default; tests wait less.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Files.
    pub files: Duration,
    /// Keys that come from a URL.
    pub keys: Duration,
    /// Keys, at the soonest, when tokens name keys that are not there.
    pub unknown_key: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            files: Duration::from_secs(5),
            keys: Duration::from_secs(300),
            unknown_key: Duration::from_secs(30),
        }
    }
}

/// TLS, authentication, rules and limits of one service. Files are watched while a clone of it is
/// there.
#[derive(Clone)]
pub struct Security {
    incoming: Incoming,
    layer: SecurityLayer,
    most_connections: usize,
    reflection: bool,
    _tasks: Arc<Vec<AbortOnDropHandle<()>>>,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Security").finish_non_exhaustive()
    }
}

impl Security {
    /// What the flags say, for a service whose errors belong to the package `domain`. Reads every
    /// file and URL that they name.
    ///
    /// # Errors
    /// Everything that is wrong with the flags and the files, at once.
    pub async fn start(args: &SecurityArgs, domain: &'static str) -> Result<Self, SecurityError> {
        Self::start_with(args, domain, Timing::default()).await
    }

    /// As [`Security::start`], looking at things again more often or less.
    ///
    /// # Errors
    /// As for [`Security::start`].
    pub async fn start_with(
        args: &SecurityArgs,
        domain: &'static str,
        timing: Timing,
    ) -> Result<Self, SecurityError> {
        crypto::install();
        SecurityError::check(args.problems())?;
        let mut problems = Vec::new();
        let mut watched = Vec::new();
        let mut tasks = Vec::new();

        let tls = match (&args.tls_cert, &args.tls_key) {
            (Some(cert), Some(key)) => {
                let started = tls::start(cert.clone(), key.clone(), args.tls_client_ca.clone());
                noted(started, &mut problems)
            }
            _ => None,
        };
        let tls = tls.map(|(tls, files)| {
            watched.push(files);
            tls
        });
        let rules = args.auth_rules.clone().map(|path| noted(rules(path), &mut problems));
        let rules = rules.flatten().map(|(rules, files)| {
            watched.push(files);
            rules
        });
        let buckets = NonZeroU32::new(args.requests_per_second).map(|per_second| {
            let burst = args.request_burst.and_then(NonZeroU32::new).unwrap_or(per_second);
            Buckets::new(per_second, burst)
        });
        let refusals = Arc::new(Refusals::new());
        let authority = Arc::new(Authority { domain, rules, buckets, refusals });
        let auth = match args.auth {
            AuthMode::None if args.tls_client_ca.is_some() => Some(Auth::Certificate),
            AuthMode::None => Some(Auth::None),
            AuthMode::Tokens => {
                let path = args.auth_tokens.clone().unwrap_or_default();
                noted(tokens(path, &authority), &mut problems).map(|(tokens, files)| {
                    watched.push(files);
                    Auth::Tokens(tokens)
                })
            }
            AuthMode::Jwt => noted(jwt(args, timing, &authority).await, &mut problems).map(|jwt| {
                let period = if jwt.is_of_file() { timing.files } else { timing.keys };
                tasks.push(spawned(Arc::clone(&jwt).keep_renewing(period)));
                Auth::Jwt(jwt)
            }),
        };
        SecurityError::check(problems)?;
        let Some(auth) = auth else { return Err(Problem::new("--auth", "cannot be used").into()) };

        if tls.is_none() && args.auth != AuthMode::None {
            tracing::warn!("tokens arrive unencrypted: give --tls-cert, or end tls in front");
        }
        tasks.push(spawned(keep_looking(watched, timing.files)));
        tasks.push(spawned(keep_forgetting(Arc::clone(&authority))));
        let most_connections = args.max_connections as usize;
        let unknown = authority.anonymous(None);
        let gate = Gate { auth, authority: Arc::clone(&authority), unknown };
        let places = Arc::new(Semaphore::new(most_connections));
        Ok(Self {
            incoming: Incoming { authority, tls, places, most_handshakes: MOST_HANDSHAKES },
            layer: SecurityLayer(Arc::new(gate)),
            most_connections,
            reflection: !args.no_reflection,
            _tasks: Arc::new(tasks),
        })
    }

    /// The layer to put around all services.
    #[must_use]
    pub fn layer(&self) -> SecurityLayer {
        self.layer.clone()
    }

    /// The connections that `listener` accepts, handshakes done. Never ends and never fails; ends
    /// accepting when dropped. Each connection is cut when `cut` is cancelled.
    pub fn connections(
        &self,
        listener: TcpListener,
        cut: CancellationToken,
    ) -> impl Stream<Item = io::Result<Cuttable<Connection>>> + use<> {
        incoming::connections(self.incoming.clone(), listener, cut)
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.incoming.tls.is_some()
    }

    /// Whether reflection is to be served.
    #[must_use]
    pub fn reflection(&self) -> bool {
        self.reflection
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.most_connections - self.incoming.places.available_permits()
    }

    /// What was refused so far.
    #[must_use]
    pub fn refused(&self) -> Counts {
        self.incoming.authority.refusals.counts()
    }
}

fn spawned(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

async fn keep_forgetting(authority: Arc<Authority>) {
    let Some(buckets) = &authority.buckets else { return };
    let mut ticks = interval(FORGET);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        buckets.forget_idle();
    }
}

fn text(flag: &'static str, bytes: &[u8]) -> Result<String, Problem> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Problem::new(flag, "is no UTF-8 text"))
}

fn rules(path: PathBuf) -> Result<(Arc<ArcSwap<Rules>>, Watched), Problem> {
    const FLAG: &str = "--auth-rules";
    let rules = Arc::new(ArcSwap::from_pointee(Rules::default()));
    let target = Arc::clone(&rules);
    let apply = Box::new(move |contents: &[Vec<u8>]| {
        let text = text(FLAG, &contents.concat())?;
        let rules = Rules::parse(&text).map_err(|what| Problem::new(FLAG, what))?;
        target.store(Arc::new(rules));
        Ok(())
    });
    let watched = Watched::start("rules", vec![(FLAG, path)], apply)?;
    Ok((rules, watched))
}

fn tokens(
    path: PathBuf,
    authority: &Arc<Authority>,
) -> Result<(Arc<ArcSwap<Tokens>>, Watched), Problem> {
    const FLAG: &str = "--auth-tokens";
    let tokens = Arc::new(ArcSwap::from_pointee(Tokens::default()));
    let (target, authority) = (Arc::clone(&tokens), Arc::clone(authority));
    let apply = Box::new(move |contents: &[Vec<u8>]| {
        let text = text(FLAG, &contents.concat())?;
        let caller = |name: &str| authority.caller(name);
        let tokens = Tokens::parse(&text, caller).map_err(|what| Problem::new(FLAG, what))?;
        target.store(Arc::new(tokens));
        Ok(())
    });
    let watched = Watched::start("tokens", vec![(FLAG, path)], apply)?;
    Ok((tokens, watched))
}

async fn jwt(
    args: &SecurityArgs,
    timing: Timing,
    authority: &Arc<Authority>,
) -> Result<Arc<Jwt>, Problem> {
    let wrong = |what| Problem::new("--jwt-keys", what);
    let keys = args.jwt_keys.as_deref().unwrap_or_default();
    let source = Source::new(keys, args.jwt_keys_ca.clone()).map_err(wrong)?;
    let expected = Expected {
        issuer: args.jwt_issuer.clone().unwrap_or_default(),
        audience: args.jwt_audience.clone().unwrap_or_default(),
        caller: args.jwt_caller_claim.clone(),
    };
    let authority = Arc::clone(authority);
    let jwt = Jwt::start(expected, source, timing.unknown_key, authority).await.map_err(wrong)?;
    Ok(Arc::new(jwt))
}
