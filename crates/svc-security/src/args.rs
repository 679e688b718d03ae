//! The flags: which there are, and which belong together. Each has an environment variable of the
//! same name; none holds a secret, those are in files.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::problem::Problem;

/// TLS, authentication, rules and limits.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Security")]
pub struct SecurityArgs {
    /// Certificate to serve TLS with, as in `/tls/tls.crt`: PEM, its intermediates after it. Read
    /// again when it changes. Default: none, no TLS.
    #[arg(long, env = "TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of that certificate, as in `/tls/tls.key`: PEM, not encrypted. Default: none.
    #[arg(long, env = "TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// CAs of the certificates that clients must show, as in `/tls/ca.crt`: PEM. Then a connection
    /// without one is refused (mutual TLS), and a caller without a token is whom the certificate
    /// names: its first DNS name, else its CN. Default: none, clients need no certificate.
    #[arg(long, env = "TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// How callers say who they are, in `authorization: Bearer <token>`.
    #[arg(long, env = "AUTH", value_enum, default_value_t = AuthMode::None)]
    pub auth: AuthMode,

    /// The tokens for `--auth tokens`, as in `/auth/tokens.toml`: for each `[[token]]` with `caller =
    /// "billing"` and `sha256 = "…"` (hex, of the token) or `token = "…"`. Read again when it
    /// changes. Default: none.
    #[arg(long, env = "AUTH_TOKENS", value_name = "FILE")]
    pub auth_tokens: Option<PathBuf>,

    /// Who may do what, as in `/auth/rules.toml`: `[[rule]]` with `callers = ["billing", "shop-*"]`,
    /// `rights = ["append", "read", "consume", "send", "receive", "administer"]`, `topics =
    /// ["order"]`, `queues = ["shop.*"]`; a `*` at the end stands for anything. What no rule allows
    /// is refused. Read again when it changes. Needed with `--auth`. Default: none.
    #[arg(long, env = "AUTH_RULES", value_name = "FILE")]
    pub auth_rules: Option<PathBuf>,

    /// Who must have issued a JWT (`iss`), as in `https://login.example.com/`. Default: none.
    #[arg(long, env = "JWT_ISSUER", value_name = "ISSUER")]
    pub jwt_issuer: Option<String>,

    /// For whom a JWT must be (`aud`), as in `shop-backbone`. Default: none.
    #[arg(long, env = "JWT_AUDIENCE", value_name = "AUDIENCE")]
    pub jwt_audience: Option<String>,

    /// Keys that sign JWTs, a JWKS: a file, or a URL as in
    /// `https://login.example.com/.well-known/jwks.json`. A file is read again when it changes, a
    /// URL every 5 minutes; both when a token names a key that is not there. Default: none.
    #[arg(long, env = "JWT_KEYS", value_name = "FILE|URL", hide_env_values = true)]
    pub jwt_keys: Option<String>,

    /// CA to trust where `--jwt-keys` is a URL, as in `/tls/login-ca.crt`: PEM. Default: those of the
    /// system.
    #[arg(long, env = "JWT_KEYS_CA", value_name = "FILE")]
    pub jwt_keys_ca: Option<PathBuf>,

    /// The claim of a JWT that names the caller, as in `client_id`.
    #[arg(long, env = "JWT_CALLER_CLAIM", value_name = "CLAIM", default_value = "sub")]
    pub jwt_caller_claim: String,

    /// Connections that may be open at once, 1 to 1000000; one more is closed at once.
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "NUMBER", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Requests that a caller may make a second, as in `500`; the messages of an AppendStream or
    /// SendStream count like requests. Who is not known counts by address. 0: as many as they like.
    #[arg(long, env = "REQUESTS_PER_SECOND", value_name = "NUMBER", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub requests_per_second: u32,

    /// Requests that a caller may make at once after a pause, as in `1000`. Default: those of one
    /// second.
    #[arg(long, env = "REQUEST_BURST", value_name = "NUMBER",
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub request_burst: Option<u32>,

    /// Do not tell which services and messages there are (`grpc.reflection.v1`). Default: they are
    /// told, to anybody.
    #[arg(long, env = "NO_REFLECTION")]
    pub no_reflection: bool,
}

/// How callers say who they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum AuthMode {
    /// They need not; with `--tls-client-ca` their certificate says it.
    None,
    /// By a token that a file knows.
    Tokens,
    /// By a JWT.
    Jwt,
}

impl SecurityArgs {
    /// What is wrong with the flags as such, before any file is read.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |flag, what: &str| problems.push(Problem::new(flag, what));
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => wrong("--tls-key", "is missing: --tls-cert needs both"),
            (None, Some(_)) => wrong("--tls-cert", "is missing: --tls-key needs both"),
            _ => {}
        }
        if self.tls_client_ca.is_some() && self.tls_cert.is_none() {
            wrong("--tls-client-ca", "needs --tls-cert and --tls-key");
        }
        if self.auth == AuthMode::Tokens && self.auth_tokens.is_none() {
            wrong("--auth-tokens", "is missing: --auth tokens needs a file with the tokens");
        }
        if self.auth != AuthMode::Tokens && self.auth_tokens.is_some() {
            wrong("--auth-tokens", "has no effect without --auth tokens");
        }
        for (flag, given) in [
            ("--jwt-issuer", self.jwt_issuer.is_some()),
            ("--jwt-audience", self.jwt_audience.is_some()),
            ("--jwt-keys", self.jwt_keys.is_some()),
        ] {
            match (self.auth, given) {
                (AuthMode::Jwt, false) => wrong(flag, "is missing: --auth jwt needs it"),
                (AuthMode::None | AuthMode::Tokens, true) => {
                    wrong(flag, "has no effect without --auth jwt");
                }
                _ => {}
            }
        }
        if self.jwt_keys_ca.is_some() && !self.jwt_keys.as_deref().is_some_and(is_url) {
            wrong("--jwt-keys-ca", "has no effect unless --jwt-keys is an https URL");
        }
        if self.auth != AuthMode::None && self.auth_rules.is_none() {
            wrong("--auth-rules", "is missing: with --auth, what no rule allows is refused");
        }
        if self.auth == AuthMode::None && self.auth_rules.is_some() && self.tls_client_ca.is_none()
        {
            wrong("--auth-rules", "needs callers: --auth tokens, --auth jwt or --tls-client-ca");
        }
        if self.request_burst.is_some() && self.requests_per_second == 0 {
            wrong("--request-burst", "has no effect without --requests-per-second");
        }
        problems
    }
}

/// Whether `--jwt-keys` is a URL rather than a file.
pub(crate) fn is_url(keys: &str) -> bool {
    keys.contains("://")
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        security: SecurityArgs,
    }

    fn parse(flags: &str) -> SecurityArgs {
        let words = std::iter::once("svc").chain(flags.split_whitespace());
        Cli::try_parse_from(words).unwrap().security
    }

    #[test]
    fn every_flag_is_explained_and_has_the_variable_of_its_name() {
        let command = Cli::command();
        command.clone().debug_assert();
        for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
            let flag = argument.get_long().unwrap();
            assert!(argument.get_help().is_some(), "--{flag} has no help");
            let variable = argument.get_env().and_then(|name| name.to_str()).unwrap();
            assert_eq!(variable, flag.to_uppercase().replace('-', "_"));
        }
    }

    #[test]
    fn nothing_given_is_right() {
        assert_eq!(parse("").problems(), []);
        assert_eq!(parse("").max_connections, 10_000);
    }

    #[test]
    fn what_does_not_belong_together_is_named_all_at_once() {
        let wrong = |flags| {
            let problems = parse(flags).problems();
            problems.into_iter().map(|problem| problem.flag).collect::<Vec<_>>()
        };
        assert_eq!(wrong("--tls-cert c"), ["--tls-key"]);
        assert_eq!(wrong("--tls-key k"), ["--tls-cert"]);
        assert_eq!(wrong("--tls-client-ca a"), ["--tls-client-ca"]);
        assert_eq!(wrong("--auth tokens"), ["--auth-tokens", "--auth-rules"]);
        assert_eq!(wrong("--auth-tokens t"), ["--auth-tokens"]);
        let jwt = ["--jwt-issuer", "--jwt-audience", "--jwt-keys", "--auth-rules"];
        assert_eq!(wrong("--auth jwt"), jwt);
        assert_eq!(wrong("--jwt-issuer i"), ["--jwt-issuer"]);
        assert_eq!(wrong("--auth-rules r"), ["--auth-rules"]);
        assert_eq!(wrong("--request-burst 5"), ["--request-burst"]);
        assert_eq!(wrong("--tls-cert c --tls-key k --tls-client-ca a --auth-rules r"), [""; 0]);
        let keys = "--auth jwt --jwt-issuer i --jwt-audience a --jwt-keys file --auth-rules r";
        assert_eq!(wrong(keys), [""; 0]);
        assert_eq!(wrong(&format!("{keys} --jwt-keys-ca c")), ["--jwt-keys-ca"]);
    }
}
