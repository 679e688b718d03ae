//! The methods that a service has, from its compiled protos: only they become labels. A client can
//! ask for any path, and would otherwise make as many series.

use std::collections::HashMap;
use std::sync::Arc;

use prost::{DecodeError, Message as _};
use prost_types::FileDescriptorSet;

/// The label of everything that is no known method.
pub const UNKNOWN: &str = "unknown";

/// A method of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// With its package: `eventstore.v1.EventStore`.
    pub service: Arc<str>,
    /// `Append`
    pub method: Arc<str>,
}

impl Method {
    fn unknown() -> Self {
        Self { service: UNKNOWN.into(), method: UNKNOWN.into() }
    }

    /// `eventstore.v1.EventStore/Append`
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.service, self.method)
    }
}

/// Something for each known method, and for all the others together.
#[derive(Clone, Debug)]
pub struct ByMethod<T> {
    by_path: Arc<HashMap<String, T>>,
    unknown: T,
}

impl<T> ByMethod<T> {
    /// For the methods of encoded `FileDescriptorSet`s.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn new(descriptors: &[&[u8]], make: impl Fn(&Method) -> T) -> Result<Self, DecodeError> {
        let mut by_path = HashMap::new();
        for encoded in descriptors {
            for file in FileDescriptorSet::decode(*encoded)?.file {
                for service in &file.service {
                    let service_name: Arc<str> =
                        format!("{}.{}", file.package(), service.name()).into();
                    for method in &service.method {
                        let service = service_name.clone();
                        let method = Method { service, method: method.name().into() };
                        by_path.insert(format!("/{}", method.name()), make(&method));
                    }
                }
            }
        }
        Ok(Self { by_path: Arc::new(by_path), unknown: make(&Method::unknown()) })
    }

    /// What belongs to a path such as `/eventstore.v1.EventStore/Append`.
    #[must_use]
    pub fn of(&self, path: &str) -> &T {
        self.known(path).unwrap_or(&self.unknown)
    }

    /// The same, if the method is known.
    #[must_use]
    pub fn known(&self, path: &str) -> Option<&T> {
        self.by_path.get(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_of_the_protos() {
        let descriptors =
            [proto::eventstore::v1::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
        let methods = ByMethod::new(&descriptors, Method::clone).unwrap();
        let append = methods.of("/eventstore.v1.EventStore/Append");
        assert_eq!(&*append.service, "eventstore.v1.EventStore");
        assert_eq!(&*append.method, "Append");
        assert!(methods.known("/grpc.health.v1.Health/Watch").is_some());
        for path in
            ["/eventstore.v1.EventStore/Appendix", "/", "", "eventstore.v1.EventStore/Append"]
        {
            assert_eq!(methods.of(path), &Method::unknown(), "{path}");
        }
        assert!(ByMethod::new(&[b"\xff"], Method::clone).is_err());
    }
}
