//! Whose objects they are: what their names, labels and owners are made from. Known before the spec is judged.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};

use crate::api::CallsCluster;
use crate::name::{ClusterName, NameError};

/// A `CallsCluster` as the owner of its objects.
#[derive(Clone, Debug)]
pub struct Identity {
    pub name: ClusterName,
    pub namespace: String,
    pub owner: OwnerReference,
}

impl Identity {
    /// That of `cluster`.
    ///
    /// # Errors
    /// If no Services can be named after it.
    pub fn of(cluster: &CallsCluster) -> Result<Self, NameError> {
        Ok(Self {
            name: ClusterName::new(&cluster.name_any())?,
            namespace: cluster.namespace().unwrap_or_default(),
            owner: cluster.controller_owner_ref(&()).unwrap_or_default(),
        })
    }
}
