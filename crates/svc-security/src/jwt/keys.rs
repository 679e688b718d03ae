//! The keys that sign tokens, of a JWKS, and the tokens that were found valid under them: checking a
//! signature costs fifty times what remembering does. New keys begin with nothing remembered.

use std::collections::HashMap;
use std::time::Duration;

use dashmap::DashMap;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use crate::caller::Caller;
use crate::crypto::{self, Digest};
use crate::jwt::Expected;

/// The algorithms that are taken: those whose keys are not secret here.
pub(crate) const TAKEN: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Valid tokens that are remembered: some 200 bytes each.
const MOST_KNOWN: usize = 10_000;

/// A key and what has to be true of tokens signed with it.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) key: DecodingKey,
    pub(crate) validation: Validation,
}

/// A token that was found valid.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) caller: Caller,
    /// Since 1970.
    pub(crate) until: Duration,
}

/// Keys, by their id.
#[derive(Debug)]
pub(crate) struct Keys {
    of: Digest,
    by_id: HashMap<String, Key>,
    without_id: Vec<Key>,
    known: DashMap<Digest, Known>,
}

impl Keys {
    /// Those of a JWKS that can check a signature.
    pub(crate) fn parse(bytes: &[u8], expected: &Expected) -> Result<Self, String> {
        let set: JwkSet = serde_json::from_slice(bytes)
            .map_err(|_| "is no JWKS: a JSON object with a list `keys`".to_owned())?;
        let (mut by_id, mut without_id) = (HashMap::new(), Vec::new());
        for jwk in &set.keys {
            let algorithms = algorithms(jwk);
            let (false, Ok(key)) = (algorithms.is_empty(), DecodingKey::from_jwk(jwk)) else {
                tracing::debug!(kid = jwk.common.key_id, "a key that cannot be used, left out");
                continue;
            };
            let key = Key { key, validation: expected.validation(&algorithms) };
            match &jwk.common.key_id {
                Some(id) => {
                    by_id.insert(id.clone(), key);
                }
                None => without_id.push(key),
            }
        }
        if by_id.is_empty() && without_id.is_empty() {
            return Err("has no key for signatures by RS, PS, ES or EdDSA".to_owned());
        }
        Ok(Self { of: crypto::sha256(&[bytes]), by_id, without_id, known: DashMap::new() })
    }

    /// Whether they were made of this.
    pub(crate) fn are(&self, bytes: &[u8]) -> bool {
        self.of == crypto::sha256(&[bytes])
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len() + self.without_id.len()
    }

    /// The key of that id; for a token that names none, the only one that could have signed it.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        if let Some(id) = id {
            return self.by_id.get(id);
        }
        let all = self.by_id.values().chain(&self.without_id);
        let mut able = all.filter(|key| key.validation.algorithms.contains(&algorithm));
        able.next().filter(|_| able.next().is_none())
    }

    pub(crate) fn known(&self, token: &Digest, now: Duration) -> Option<Caller> {
        let known = self.known.get(token)?;
        (known.until >= now).then(|| known.caller.clone())
    }

    pub(crate) fn remember(&self, token: Digest, known: Known, now: Duration) {
        if self.known.len() >= MOST_KNOWN {
            self.known.retain(|_, known| known.until >= now);
            if self.known.len() >= MOST_KNOWN {
                self.known.clear();
            }
        }
        self.known.insert(token, known);
    }
}

/// What a key can check: nothing where it is secret, for encryption, or of a kind that is not known.
fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return Vec::new();
    }
    let of_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &TAKEN[..6],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        _ => &[],
    };
    let named = jwk.common.key_algorithm.map(|algorithm| algorithm.to_string());
    let fits = |algorithm: &&Algorithm| {
        named.as_ref().is_none_or(|named| *named == format!("{algorithm:?}"))
    };
    of_kind.iter().filter(fits).copied().collect()
}
