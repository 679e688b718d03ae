//! A private Redis with TLS and a user who may only do what the services need, as a cluster has it.
//! It listens without TLS too, for the test itself.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

use super::{Options, PrivateRedis};
use crate::RedisArgs;

/// The user of the services.
pub const USER: &str = "messaging";
/// The password of that user.
pub const PASSWORD: &str = "correct-horse-battery-staple";

/// How it is secured.
#[derive(Clone, Debug, Default)]
pub struct Secured {
    /// Whether clients have to show a certificate.
    pub client_certificates: bool,
    /// Without TLS, for a server that was built without.
    pub plain: bool,
    /// What the user may; none: what deploy/ gives to the services.
    pub rules: Option<&'static str>,
}

impl PrivateRedis {
    /// One that is secured as in production, and keeps its data.
    #[must_use]
    pub fn start_secured(secured: Secured) -> Self {
        Self::start_with(Options {
            append_only: true,
            fsync_always: true,
            secured: Some(secured),
            ..Options::default()
        })
    }

    /// A file of a secured one: `ca.crt`, `client.crt`, `client.key`, `password`, and `other.crt`,
    /// `other.key`, which nobody trusts.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The flags, other than `--redis-url`, that a service needs for a secured one.
    #[must_use]
    pub fn secured_flags(&self) -> Vec<String> {
        let file = |name: &str| self.file(name).display().to_string();
        let flags = [
            ("--redis-username", USER.to_owned()),
            ("--redis-password-file", file("password")),
            ("--redis-ca", file("ca.crt")),
        ];
        let count = if self.is_tls() { 3 } else { 2 };
        flags.into_iter().take(count).flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }

    pub(super) fn is_tls(&self) -> bool {
        self.options.secured.as_ref().is_some_and(|secured| !secured.plain)
    }

    /// Arguments that lead to a secured one.
    #[must_use]
    pub fn secured_args(&self) -> RedisArgs {
        RedisArgs {
            redis_ca: self.is_tls().then(|| self.file("ca.crt")),
            redis_username: Some(USER.to_owned()),
            redis_password_file: Some(self.file("password")),
            ..self.args()
        }
    }
}

/// What the services' user may do in production.
///
/// # Panics
/// When deploy/ has no such user.
#[must_use]
pub fn deployed_rules() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    let file = root.join("deploy/kustomize/secrets/users.acl.template");
    let text = std::fs::read_to_string(file).expect("deploy/ has users");
    let start = format!("user {USER} on #PASSWORD_SHA256 ");
    let rules = text.lines().find_map(|line| line.strip_prefix(&start));
    rules.expect("deploy/ has the user of the services").to_owned()
}

/// Makes certificates and the file with the password.
pub(super) fn prepare(folder: &Path) {
    let put = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).expect("its folder can be written");
    };
    let (ca, other) = (authority(), authority());
    put("ca.crt", &ca.pem());
    for (name, issuer) in [("server", &ca), ("client", &ca), ("other", &other)] {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned()]).expect("localhost is a name");
        // Other than its issuer's, or OpenSSL takes it for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("ring makes keys");
        let cert = params.signed_by(&key, issuer).expect("a CA signs");
        put(&format!("{name}.crt"), &cert.pem());
        put(&format!("{name}.key"), &key.serialize_pem());
    }
    put("other-ca.crt", &other.pem());
    put("password", &format!("{PASSWORD}\n"));
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("ring makes keys");
    CertifiedIssuer::self_signed(params, key).expect("a CA signs itself")
}

/// What the server is started with.
pub(super) fn arguments(secured: &Secured, folder: &Path, port: u16) -> Vec<String> {
    let mut arguments = Vec::new();
    if !secured.plain {
        let file = |name: &str| folder.join(name).display().to_string();
        let clients = if secured.client_certificates { "yes" } else { "no" };
        for (flag, value) in [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", file("server.crt")),
            ("--tls-key-file", file("server.key")),
            ("--tls-ca-cert-file", file("ca.crt")),
            ("--tls-auth-clients", clients.to_owned()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
    }
    let rules = secured.rules.map_or_else(deployed_rules, str::to_owned);
    arguments.push("--user".to_owned());
    arguments.extend([USER.to_owned(), "on".to_owned(), format!(">{PASSWORD}")]);
    arguments.extend(rules.split_whitespace().map(str::to_owned));
    arguments
}
