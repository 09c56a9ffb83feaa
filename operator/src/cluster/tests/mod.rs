//! Tests of the steps together, without a cluster.

mod apply;
mod autoscaling;
mod build;
mod chart;
mod reconcile;
mod see_off;
mod snapshots;
mod status;
mod traces;
mod validate;
