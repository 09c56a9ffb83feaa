//! Names of the objects made for a `CallsCluster`, in one place so that builders, orphans and messages agree.

use std::fmt;

use thiserror::Error;

/// Longest accepted name of a `CallsCluster`: with the longest suffix a Service name stays within 63 characters, and
/// pod names keep room for the suffixes of ReplicaSet and pod.
pub const MAX_CLUSTER_NAME: usize = 40;

/// The operator as a field manager, as the reporter of Events and in labels.
pub const MANAGER: &str = fleet::names::label::MANAGED_BY_VALUE;

/// The name of a `CallsCluster`, for example `main`: an RFC 1035 label, because Services are named after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterName(String);

/// Why a name cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameError {
    #[error("the name {0:?} is not made of lower-case letters, digits and dashes, or does not begin with a letter")]
    NotALabel(String),
    #[error("the name {0:?} is longer than {MAX_CLUSTER_NAME} characters")]
    TooLong(String),
    #[error("the name {0:?} ends in -sfu, which is taken for the Service of the SFUs of another CallsCluster")]
    Reserved(String),
}

impl ClusterName {
    /// Checks what the CRD's rules check as well, for objects stored before the rules were there.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.len() > MAX_CLUSTER_NAME {
            return Err(NameError::TooLong(name.to_owned()));
        }
        let first_is_letter = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let all_allowed = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !first_is_letter || !all_allowed || name.ends_with('-') {
            return Err(NameError::NotALabel(name.to_owned()));
        }
        if name.ends_with("-sfu") {
            return Err(NameError::Reserved(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The Service in front of the directors.
    pub fn service(&self) -> String {
        self.0.clone()
    }

    /// The headless Service over all SFUs, their service account, their configuration and their disruption budget.
    pub fn sfu(&self) -> String {
        format!("{}-sfu", self.0)
    }

    /// Deployment, service account, role, disruption budget and network policy of the director.
    pub fn director(&self) -> String {
        format!("{}-director", self.0)
    }

    /// The Deployment of one revision in one port slot.
    pub fn sfu_deployment(&self, revision: &str, slot: u16) -> String {
        format!("{}-sfu-{revision}-{slot}", self.0)
    }

    /// The ConfigMap of what the forecast has learned.
    pub fn forecast(&self) -> String {
        format!("{}-forecast", self.0)
    }

    /// The Secret of API keys made by the operator.
    pub fn keys(&self) -> String {
        format!("{}-keys", self.0)
    }

    /// The Secrets of the fleet's certificates: the authority's and each role's.
    pub fn certificates(&self) -> impl Iterator<Item = String> {
        std::iter::once(self.fleet_ca()).chain(Role::ALL.map(|role| self.tls(role)))
    }

    /// The Secret of the fleet's certificate authority.
    pub fn fleet_ca(&self) -> String {
        format!("{}-fleet-ca", self.0)
    }

    /// The Secret with the certificate of one role.
    pub fn tls(&self, role: Role) -> String {
        format!("{}-{}-tls", self.0, role.word())
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A party of the fleet API, each with its own certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Sfu,
    Director,
    Operator,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Sfu, Self::Director, Self::Operator];

    /// The role in names of objects.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sfu => "sfu",
            Self::Director => "director",
            Self::Operator => "operator",
        }
    }

    /// The DNS name in the role's certificate.
    pub fn tls_name(self) -> &'static str {
        match self {
            Self::Sfu => fleet::names::tls_name::SFU,
            Self::Director => fleet::names::tls_name::DIRECTOR,
            Self::Operator => fleet::names::tls_name::OPERATOR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_name_a_service_are_refused() {
        for name in ["", "Main", "9lives", "a.b", "a-", "-a", "ä"] {
            assert_eq!(ClusterName::new(name), Err(NameError::NotALabel(name.into())), "{name}");
        }
        assert_eq!(ClusterName::new("main-sfu"), Err(NameError::Reserved("main-sfu".into())));
        assert!(matches!(ClusterName::new(&"a".repeat(41)), Err(NameError::TooLong(_))));
    }

    #[test]
    fn the_longest_name_still_gives_service_names_within_63_characters() {
        let name = ClusterName::new(&"a".repeat(MAX_CLUSTER_NAME)).unwrap();
        assert!(name.sfu().len() <= 63 && name.director().len() <= 63);
        assert!(name.sfu_deployment("0123456789", 1).len() <= 63);
    }
}
