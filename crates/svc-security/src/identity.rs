//! What a certificate says: whom it names, and until when.

use svc_runtime::names::is_key;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Whom a client certificate names: its first DNS name, else its common name. None where it has
/// neither, or one that is no name.
pub(crate) fn caller_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let dns = names.and_then(|names| {
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
    });
    let name = dns.or_else(|| {
        let common = certificate.subject().iter_common_name().next()?;
        common.as_str().ok().map(str::to_owned)
    })?;
    is_key(&name).then_some(name)
}

/// Until when a certificate is valid, for people; an error where it is not valid now.
pub(crate) fn valid_until(der: &[u8]) -> Result<String, String> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|_| "its certificate cannot be parsed".to_owned())?;
    let validity = certificate.validity();
    if !validity.is_valid() {
        let (from, until) = (validity.not_before, validity.not_after);
        return Err(format!("its certificate is valid from {from} until {until}, not now"));
    }
    Ok(validity.not_after.to_string())
}
