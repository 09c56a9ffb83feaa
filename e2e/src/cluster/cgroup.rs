//! Control groups of the nodes: made before a kubelet asks for them, emptied and removed when it is gone.
//!
//! Debian 12 as it comes has version 2; containers and older machines have version 1, often with an empty version 2
//! beside it ("hybrid").

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::layout::{CGROUP, NodeLayout};

/// What the kubelet divides among pods.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// Which version of control groups this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy per controller.
    V1,
    /// One hierarchy.
    V2,
}

impl Version {
    /// In words, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "cgroup v1",
            Self::V2 => "cgroup v2",
        }
    }
}

/// The hierarchies mounted on this machine.
#[derive(Clone, Debug)]
pub struct Hierarchies {
    version: Version,
    roots: Vec<PathBuf>,
}

impl Hierarchies {
    /// Finds them.
    ///
    /// # Errors
    /// When there are none: a container without control groups cannot hold a node.
    pub fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("failed to read /proc/self/mountinfo")?;
        Self::from_mounts(&mounts).context("no control groups are mounted here, which containers need")
    }

    /// The version in use.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The kubelet's `cgroupRoot` of a node.
    pub fn kubelet_root(node: NodeLayout) -> String {
        format!("/{CGROUP}/{}", node.name())
    }

    /// Makes the groups of a node in every hierarchy.
    pub fn ensure(&self, node: NodeLayout) -> Result<()> {
        for root in &self.roots {
            let group = root.join(CGROUP).join(node.name());
            fs::create_dir_all(&group)
                .with_context(|| format!("failed to make the control group {}", group.display()))?;
        }
        if self.version == Version::V2 {
            let root = &self.roots[0];
            enable_controllers(root)?;
            enable_controllers(&root.join(CGROUP))?;
        }
        Ok(())
    }

    /// The processes in a node's groups: all its containers.
    pub fn processes(&self, node: NodeLayout) -> Vec<i32> {
        let mut pids = Vec::new();
        for root in &self.roots {
            for group in groups_below(&root.join(CGROUP).join(node.name())) {
                let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            }
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Removes a node's groups, which must be empty of processes.
    pub fn remove(&self, node: NodeLayout) -> Result<()> {
        self.roots.iter().try_for_each(|root| remove_groups(&root.join(CGROUP).join(node.name())))
    }

    /// Removes the folder all nodes' groups were in.
    pub fn remove_all(&self) -> Result<()> {
        self.roots.iter().try_for_each(|root| remove_groups(&root.join(CGROUP)))
    }

    fn from_mounts(mounts: &str) -> Option<Self> {
        let (mut v1, mut v2) = (Vec::new(), Vec::new());
        for line in mounts.lines() {
            let (left, right) = line.split_once(" - ")?;
            let path = PathBuf::from(left.split(' ').nth(4)?);
            match right.split(' ').next()? {
                "cgroup" => v1.push(path),
                "cgroup2" => v2.push(path),
                _ => {}
            }
        }
        if v1.is_empty() {
            return (!v2.is_empty()).then_some(Self { version: Version::V2, roots: v2 });
        }
        v1.extend(v2);
        Some(Self { version: Version::V1, roots: v1 })
    }
}

/// Hands controllers of version 2 on to the groups in a group. Those it does not have are left out.
fn enable_controllers(group: &Path) -> Result<()> {
    let available = fs::read_to_string(group.join("cgroup.controllers"))?;
    let available: Vec<&str> = available.split_whitespace().collect();
    let file = group.join("cgroup.subtree_control");
    for controller in CONTROLLERS.iter().filter(|controller| available.contains(controller)) {
        fs::write(&file, format!("+{controller}"))
            .with_context(|| format!("failed to enable the controller {controller} in {}", file.display()))?;
    }
    Ok(())
}

/// The group and all below it, the deepest first.
fn groups_below(group: &Path) -> Vec<PathBuf> {
    let mut groups = Vec::new();
    let mut open = vec![group.to_path_buf()];
    while let Some(group) = open.pop() {
        let entries = fs::read_dir(&group).into_iter().flatten().filter_map(Result::ok);
        open.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
        groups.push(group);
    }
    groups.reverse();
    groups
}

fn remove_groups(group: &Path) -> Result<()> {
    for group in groups_below(group) {
        match fs::remove_dir(&group) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => bail!("failed to remove the control group {}: {error}", group.display()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stock_debian_has_version_two() {
        let mounts = "24 1 0:22 / /sys rw - sysfs sysfs rw\n30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = Hierarchies::from_mounts(mounts).expect("found");
        assert_eq!((found.version, found.roots), (Version::V2, vec![PathBuf::from("/sys/fs/cgroup")]));
    }

    #[test]
    fn a_hybrid_counts_as_version_one_with_all_its_hierarchies() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      32 30 0:28 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n";
        let found = Hierarchies::from_mounts(mounts).expect("found");
        let roots = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"].map(PathBuf::from).to_vec();
        assert_eq!((found.version, found.roots), (Version::V1, roots));
    }

    #[test]
    fn a_machine_without_control_groups_is_told_apart() {
        assert!(Hierarchies::from_mounts("24 1 0:22 / /sys rw - sysfs sysfs rw\n").is_none());
    }
}
