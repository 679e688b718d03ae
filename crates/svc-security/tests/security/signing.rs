//! An issuer of tokens: keys of each kind, their JWKS, and JWTs signed by ring alone, so that nothing
//! checks itself.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

pub const ISSUER: &str = "https://login.test/";
pub const AUDIENCE: &str = "backbone";

/// Made for these tests; opens nothing.
const RSA_KEY: &[u8] = include_bytes!("rsa-2048.pem");

pub enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
}

pub fn rsa() -> SigningKey {
    let der = PrivatePkcs8KeyDer::from_pem_slice(RSA_KEY).unwrap();
    SigningKey::Rsa(Box::new(RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap()))
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm, curve: &'static str) -> SigningKey {
    let rng = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &rng).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &rng).unwrap();
    SigningKey::Ec(key, curve)
}

pub fn p256() -> SigningKey {
    ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")
}

pub fn p384() -> SigningKey {
    ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")
}

pub fn ed25519() -> SigningKey {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    SigningKey::Ed(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
}

impl SigningKey {
    /// What the issuer tells of it.
    pub fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
                let (n, e) = (BASE64.encode(public.n), BASE64.encode(public.e));
                json!({"kty": "RSA", "kid": kid, "use": "sig", "n": n, "e": e})
            }
            Self::Ec(key, curve) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let (x, y) = (BASE64.encode(x), BASE64.encode(y));
                json!({"kty": "EC", "crv": curve, "kid": kid, "x": x, "y": y})
            }
            Self::Ed(key) => {
                let x = BASE64.encode(key.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "alg": "EdDSA", "x": x})
            }
        }
    }

    /// A JWT.
    pub fn token(&self, algorithm: &str, kid: &str, claims: &Value) -> String {
        self.token_with(&json!({"alg": algorithm, "typ": "JWT", "kid": kid}), claims)
    }

    /// A JWT with a header of one's own.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let algorithm = header["alg"].as_str().unwrap();
        let signature = self.sign(algorithm, message.as_bytes());
        format!("{message}.{}", BASE64.encode(signature))
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let rng = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let padding: &dyn RsaEncoding = match algorithm {
                    "RS256" => &RSA_PKCS1_SHA256,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    other => panic!("{other}"),
                };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &rng, message, &mut signature).unwrap();
                signature
            }
            Self::Ec(key, _) => key.sign(&rng, message).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

/// A JWT signed with a secret.
pub fn hs256(secret: &[u8], kid: &str, claims: &Value) -> String {
    let message = message(&json!({"alg": "HS256", "kid": kid}), claims);
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", BASE64.encode(signature))
}

/// A JWT that nobody signed.
pub fn unsigned(kid: &str, claims: &Value) -> String {
    format!("{}.", message(&json!({"alg": "none", "kid": kid}), claims))
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

pub fn jwks(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What a valid token says, changed as `change` says; null takes a claim away.
pub fn claims(change: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "billing", "exp": now() + 300, "nbf": now() - 10,
    });
    let Value::Object(change) = change else { panic!("no object: {change}") };
    for (name, value) in change {
        claims[name.as_str()] = value;
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}
