//! Files that flags name, and the certificates and keys in them. No content of a file is in an error.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::problem::Problem;

/// More than any file here has reason to be.
const MOST_BYTES: u64 = 1 << 20;

/// Reads a file that a flag names.
///
/// # Errors
/// When it cannot be read, or is larger than 1 MiB.
pub fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, Problem> {
    read_bounded(path)
        .map_err(|error| Problem::new(flag, format!("cannot read {}: {error}", path.display())))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// When there is none, or one that is broken.
pub fn certificates(
    flag: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let wrong = || Problem::new(flag, "holds no PEM certificate (-----BEGIN CERTIFICATE-----)");
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|chain| !chain.is_empty()).ok_or_else(wrong)
}

/// The private key of a PEM file.
///
/// # Errors
/// When there is none.
pub fn private_key(flag: &'static str, pem: &[u8]) -> Result<PrivateKeyDer<'static>, Problem> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        Problem::new(flag, "holds no PEM private key (PKCS#8, PKCS#1 or SEC1, not encrypted)")
    })
}

/// Whether a key is that of a certificate.
///
/// # Errors
/// When it is not, or one of them cannot be used.
pub fn check_pair(
    (cert_flag, cert): (&'static str, &[u8]),
    (key_flag, key): (&'static str, &[u8]),
) -> Result<(), Problem> {
    let chain = certificates(cert_flag, cert)?;
    let key = private_key(key_flag, key)?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map(drop)
        .map_err(|error| Problem::new(key_flag, format!("{error}; it has to be {cert_flag}'s")))
}

/// The certificates of a PEM file, as those to trust.
///
/// # Errors
/// When one of them cannot be trusted.
pub fn roots(flag: &'static str, pem: &[u8]) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(flag, pem)? {
        roots
            .add(certificate)
            .map_err(|error| Problem::new(flag, format!("holds no CA certificate: {error}")))?;
    }
    Ok(roots)
}
