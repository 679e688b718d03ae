//! CAs and certificates, made for one test each.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};

/// A CA.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Issued {
    pub cert: String,
    pub key: String,
}

/// What a certificate is to say.
pub struct Leaf<'a> {
    pub dns: &'a [&'a str],
    pub common_name: Option<&'a str>,
    pub expired: bool,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server at `localhost`.
    pub fn server(&self) -> Issued {
        self.issue(&Leaf { dns: &["localhost"], common_name: None, expired: false })
    }

    /// A certificate of a client of that name.
    pub fn client(&self, name: &str) -> Issued {
        self.issue(&Leaf { dns: &[name], common_name: Some("not asked"), expired: false })
    }

    pub fn issue(&self, leaf: &Leaf<'_>) -> Issued {
        let names: Vec<String> = leaf.dns.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.remove(DnType::CommonName);
        if let Some(name) = leaf.common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(if leaf.expired { 2021 } else { 2090 }, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Issued { cert: cert.pem(), key: key.serialize_pem() }
    }
}
