//! Who may do what with a service, and over which connections: TLS, authentication, rules, limits.
//!
//! [`Security`] is all of it for one service, made of [`SecurityArgs`]: its connections
//! ([`Security::connections`]), its layer ([`Security::layer`]) and, in each request, a [`Caller`]
//! that handlers ask ([`Caller::check`]). [`ClientSecurity`] is the other side. Files are read again
//! when they change; a file that cannot be used leaves what was there before in force.
//!
//! | refused | answer |
//! | --- | --- |
//! | a certificate that is missing, expired or of another CA; too many connections | the connection is closed |
//! | no token, or one that is not valid | UNAUTHENTICATED, reason UNAUTHENTICATED, metadata `cause` |
//! | a right that the rules do not give | PERMISSION_DENIED, metadata `right`, `topic` or `queue`, `caller` |
//! | more requests than allowed | RESOURCE_EXHAUSTED, reason RATE_LIMITED, with `RetryInfo` |

mod args;
mod caller;
mod client;
mod connection;
mod crypto;
mod files;
mod identity;
mod incoming;
mod jwt;
mod layer;
mod limits;
mod problem;
mod refusals;
mod rules;
mod security;
mod tls;
mod tokens;

pub use args::{AuthMode, SecurityArgs};
pub use caller::{Caller, Denied};
pub use client::{BearerToken, ClientSecurity, SecuredChannel, ServiceAccess};
pub use connection::{Connection, Peer};
pub use layer::{Guard, SecurityLayer};
pub use problem::{Problem, SecurityError};
pub use refusals::{Counts, Reason};
pub use rules::{Resource, Right, Rules};
pub use security::{Security, Timing};
