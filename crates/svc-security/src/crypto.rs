//! One cryptography for everything: ring, for TLS and for the signatures of tokens. The JWT library
//! brings none by itself; its own choices are a second C library, or RSA code with an open advisory.

use std::sync::{Arc, Once};

use jsonwebtoken::crypto::{CryptoProvider as JwtProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature as ring_sig;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring as rustls_ring};

static INSTALL: Once = Once::new();

static JWT: JwtProvider = JwtProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring what rustls and the JWT library use in this process. Where another part of the
/// process was first, its choice stands.
pub(crate) fn install() {
    INSTALL.call_once(|| {
        if rustls_ring::default_provider().install_default().is_err() {
            tracing::debug!("rustls has a cryptography already");
        }
        if JWT.install_default().is_err() {
            tracing::debug!("the jwt library has a cryptography already");
        }
    });
}

/// What TLS is done with.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls_ring::default_provider())
}

pub(crate) type Digest = [u8; 32];

/// SHA-256.
pub(crate) fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(new_error(ErrorKind::Provider("services check tokens, they make none".to_owned())))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if algorithm.family() != key.family() {
        return Err(new_error(ErrorKind::InvalidAlgorithm));
    }
    Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() }))
}

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let rsa: &ring_sig::RsaParameters = match self.algorithm {
            Algorithm::RS256 => &ring_sig::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RS384 => &ring_sig::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::RS512 => &ring_sig::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::PS256 => &ring_sig::RSA_PSS_2048_8192_SHA256,
            Algorithm::PS384 => &ring_sig::RSA_PSS_2048_8192_SHA384,
            Algorithm::PS512 => &ring_sig::RSA_PSS_2048_8192_SHA512,
            Algorithm::ES256 => {
                return self.verify_bytes(&ring_sig::ECDSA_P256_SHA256_FIXED, message, signature);
            }
            Algorithm::ES384 => {
                return self.verify_bytes(&ring_sig::ECDSA_P384_SHA384_FIXED, message, signature);
            }
            Algorithm::EdDSA => {
                return self.verify_bytes(&ring_sig::ED25519, message, signature);
            }
            // HS: what anybody could sign with a key that is public.
            _ => return Err(Error::new()),
        };
        match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let key = ring_sig::RsaPublicKeyComponents { n, e };
                key.verify(rsa, message, signature).map_err(|_| Error::new())
            }
            DecodingKeyKind::SecretOrDer(_) => self.verify_bytes(rsa, message, signature),
        }
    }
}

impl RingVerifier {
    fn verify_bytes(
        &self,
        algorithm: &'static dyn ring_sig::VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> std::result::Result<(), Error> {
        let key = self.key.try_get_as_bytes().map_err(|_| Error::new())?;
        ring_sig::UnparsedPublicKey::new(algorithm, key)
            .verify(message, signature)
            .map_err(|_| Error::new())
    }
}
