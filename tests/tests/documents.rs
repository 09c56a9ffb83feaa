//! What README, ARCHITECTURE, CONTRIBUTING and docs say, compared with the code where it could go stale; and the absences
//! that ARCHITECTURE promises, where no compiler keeps them.
//!
//! Reads the repository as text: programs cannot be imported, and what is claimed is about files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fleet::config::MediaConfig;
use fleet::names::{DRAIN_SECONDS, SLOTS, slot_ports};

/// Files whose facts are checked. Links and paths are checked in every one of them.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/autoscaling.md",
    "docs/install.md",
    "docs/network.md",
    "docs/operating.md",
    "docs/recording.md",
    "docs/troubleshooting.md",
    "e2e/README.md",
];

/// Crates, their folders, and which of ours each may import.
const IMPORTS: &[(&str, &str, &[&str])] = &[
    ("fleet", "fleet", &[]),
    ("autoscale", "autoscale", &[]),
    ("sfu-core", "sfu/core", &[]),
    ("calls-sfu", "sfu", &["sfu-core", "fleet", "calls-recorder"]),
    ("calls-director", "director", &["fleet"]),
    ("calls-operator", "operator", &["fleet", "autoscale"]),
    ("calls-client", "client", &[]),
    ("calls-recorder", "recorder", &["sfu-core", "fleet", "calls-client"]),
    ("calls-bench", "bench", &["sfu-core", "autoscale", "calls-client"]),
    (
        "calls-tests",
        "tests",
        &["sfu-core", "fleet", "calls-sfu", "calls-director", "calls-operator", "calls-client", "calls-bench"],
    ),
    ("e2e", "e2e", &[]),
];

/// Words written like reasons, in the files that set reasons: conditions and their values, sources of addresses, states,
/// verbs, types, and Kubernetes' own words.
const NO_REASONS: &str = "
    Ready Progressing Degraded PortsAllocated AddressResolved ScalingLimited AutoscalingConflict True False Unknown
    Override NodeAnnotation NodeExternalIP NodeInternalIP Stun
    Active Pending Unreachable Created Updated Scaled Deleted Context
    Deployment Pod Secret Failed Succeeded PodScheduled PodSecurity ReplicaFailure Unschedulable
    CreateContainerConfigError CreateContainerError RunContainerError CrashLoopBackOff
    ErrImageNeverPull ErrImagePull ImageInspectError ImagePullBackOff InvalidImageName
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository").to_path_buf()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Source text without what is only compiled for its tests, and without comments.
fn code(path: &str) -> String {
    let text = read(path);
    let (text, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every file below `folder` with one of these endings, as paths from the root.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder of the repository") {
            let entry = entry.expect("readable");
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                if !["target", "node_modules", ".git"].iter().any(|skipped| path.ends_with(skipped)) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// What stands between `before` and the next `after`, each time it occurs.
fn between<'a>(text: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(before).filter_map(move |(at, _)| text[at + before.len()..].split(after).next())
}

fn assert_says(document: &str, fact: &str) {
    assert!(read(document).contains(fact), "{document} no longer says {fact:?}");
}

#[test]
fn every_reason_the_code_sets_is_in_troubleshooting_and_no_other() {
    let sources = [
        "operator/src/cluster/problem.rs",
        "operator/src/cluster/status.rs",
        "operator/src/cluster/status/scaling.rs",
        "operator/src/cluster/validate.rs",
        "operator/src/cluster/apply.rs",
        "operator/src/cluster/mod.rs",
        "sfu/src/address.rs",
    ];
    let is_pascal = |word: &str| {
        word.len() > 1 && word.starts_with(|c: char| c.is_ascii_uppercase()) && word.chars().all(char::is_alphanumeric)
    };
    let set: BTreeSet<String> = sources
        .iter()
        .map(|source| code(source))
        .flat_map(|text| between(&text, "\"", "\"").map(str::to_owned).collect::<Vec<_>>())
        .filter(|word| is_pascal(word) && !NO_REASONS.split_whitespace().any(|other| other == word))
        .collect();
    let text = read("docs/troubleshooting.md");
    let explained: BTreeSet<String> = between(&text, "\n| `", "` |").map(str::to_owned).collect();
    assert!(set.len() > 30, "only {set:?} were found");
    assert_eq!(explained, set, "left: docs/troubleshooting.md, right: the code");
}

#[test]
fn every_condition_has_its_section_in_troubleshooting() {
    let problem = code("operator/src/cluster/problem.rs");
    let conditions: Vec<&str> = between(&problem, " => \"", "\"").collect();
    assert_eq!(conditions.len(), 8, "{conditions:?}");
    for condition in conditions {
        assert_says("docs/troubleshooting.md", &format!("\n## `{condition}`\n"));
    }
}

/// The default in the CRD's types, as `impl Default for MediaPorts { … from: 8443`.
fn first_port(of: &str) -> u16 {
    let spec = read("operator/src/api/spec.rs");
    let implementation = between(&spec, &format!("impl Default for {of} "), "\n}\n").next().map(str::to_owned);
    let implementation = implementation.unwrap_or_else(|| panic!("{of} has no default"));
    let digits: String = implementation.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("a port")
}

#[test]
fn documents_name_the_default_ports() {
    let (media, control) = (first_port("MediaPorts"), first_port("ControlPorts"));
    let slots = (0..SLOTS).map(|slot| slot_ports(media, control, slot).expect("the defaults are in range"));
    let [first, second] = slots.collect::<Vec<_>>()[..] else { panic!("the documents speak of two slots") };
    let rows = [(first.media, second.media), (first.control, second.control), (first.health, second.health)];
    let [media, control, health] = rows.map(|(first, second)| format!("| {first}, {second} |"));
    for (ports, protocol) in [(media, "UDP and TCP"), (control, "TCP"), (health, "TCP")] {
        assert_says("docs/network.md", &format!("{ports} {protocol} |"));
    }
    for ((first, second), what) in
        rows.iter().zip(["media, UDP and TCP", "control, HTTPS with client certificates", "probes and metrics, HTTP"])
    {
        assert_says("ARCHITECTURE.md", &format!("| {what} | {first} | {second} |"));
    }
    assert_says("docs/troubleshooting.md", &format!("(TCP {} and {} by default)", first.control, second.control));
    assert_says("docs/network.md", &format!("udp:{0}-{1},tcp:{0}-{1}", first.media, second.media));
}

#[test]
fn documents_name_the_ports_of_pods_that_have_addresses_of_their_own() {
    let (ports, cli) = (read("operator/src/port.rs"), read("operator/src/cli.rs"));
    let director = |name: &str| {
        let port = between(&ports, &format!("pub const {name}: u16 = "), ";").next().map(str::to_owned);
        port.unwrap_or_else(|| panic!("{name} is gone"))
    };
    for name in ["DIRECTOR_HTTP_PORT", "DIRECTOR_HEALTH_PORT"] {
        assert_says("docs/network.md", &format!("| {} of directors' pods | TCP |", director(name)));
    }
    let health = between(&cli, "default_value = \"0.0.0.0:", "\"").next().expect("the operator's health port");
    assert_says("docs/network.md", &format!("| {health} of the operator's pod | TCP |"));
}

#[test]
fn readme_names_the_ports_of_development() {
    let cli = read("sfu/src/cli.rs");
    let default = |field: &str| {
        let (before, _) = cli.split_once(field).unwrap_or_else(|| panic!("{field} is gone"));
        between(before, "default_value_t = ", ",").last().expect("it has a default").to_owned()
    };
    let [http, tcp, udp] = ["pub port: u16", "pub tcp_port: u16", "pub udp_port: u16"].map(default);
    assert_says("README.md", &format!("HTTP and websocket on {http}, media on TCP {tcp} and UDP {udp}"));
    assert_says("README.md", &format!("<http://127.0.0.1:{http}>"));
}

#[test]
fn documents_name_the_limits_of_draining_holding_and_speaking() {
    for document in ["docs/troubleshooting.md", "docs/operating.md"] {
        assert_says(document, &format!("after {DRAIN_SECONDS} seconds (`sfu.drainTimeoutSeconds`)"));
    }
    let speakers = MediaConfig::default().max_active_speakers;
    assert_says("docs/operating.md", &format!("at most `media.maxActiveSpeakers`, {speakers} by default"));
    let trip = read("director/src/trip.rs");
    let hold = between(&trip, "pub const HOLD: Duration = Duration::from_secs(", ")").next().expect("a limit");
    assert_says("ARCHITECTURE.md", &format!("held, up to {hold} seconds"));
    let cluster = read("operator/src/cluster/mod.rs");
    let resync = between(&cluster, "pub const RESYNC: Duration = Duration::from_secs(", ")").next().expect("a period");
    assert_says("docs/troubleshooting.md", &format!("every {resync} seconds"));
}

#[test]
fn the_page_on_autoscaling_names_the_defaults_and_the_reasons() {
    let spec = read("operator/src/api/autoscaling.rs");
    for (rust, field) in [
        ("min_replicas", "minReplicas"),
        ("max_replicas", "maxReplicas"),
        ("target_load", "targetLoad"),
        ("horizon_seconds", "predictive.horizonSeconds"),
        ("max_pods_per_minute", "scaleUp.maxPodsPerMinute"),
        ("stabilization_seconds", "scaleDown.stabilizationSeconds"),
    ] {
        let is_number = |found: &&str| !found.is_empty() && found.bytes().all(|byte| byte.is_ascii_digit());
        let name = format!("{rust}: ");
        let mut values = spec.split(&name).skip(1).filter_map(|rest| rest.split([',', ' ']).next());
        let default = values.find(is_number).unwrap_or_else(|| panic!("{rust} has no default"));
        assert_says("docs/autoscaling.md", &format!("| `{field}` | {default} |"));
    }
    // Every sentence of the page is one that the decision's own test expects.
    let (reasons, page) = (read("autoscale/src/reason.rs"), read("docs/autoscaling.md"));
    let sentences: Vec<&str> = between(&page, "\n| `", "` |").filter(|words| words.contains(": ")).collect();
    assert!(sentences.len() > 8, "{sentences:?}");
    for sentence in sentences {
        assert!(reasons.contains(&format!("\"{sentence}\"")), "no decision says {sentence:?}");
    }
}

#[test]
fn one_toolchain_is_named_everywhere() {
    let (toolchain, workspace) = (read("rust-toolchain.toml"), read("Cargo.toml"));
    let channel = between(&toolchain, "channel = \"", "\"").next().expect("a channel");
    let minimum = between(&workspace, "rust-version = \"", "\"").next().expect("a minimum");
    assert!(channel.starts_with(&format!("{minimum}.")), "{channel} is pinned, {minimum} is asked for");
    assert_says("CONTRIBUTING.md", channel);
    assert_says("Dockerfile", &format!("FROM rust:{channel}-"));
    assert_says("Dockerfile", &format!("RUSTUP_TOOLCHAIN={channel}\n"));
}

#[test]
fn documents_name_the_versions_of_kubernetes() {
    let (chart, binaries) = (read("charts/calls-operator/Chart.yaml"), read("e2e/src/binaries.rs"));
    let oldest = between(&chart, "kubeVersion: \">=", ".0-0\"").next().expect("the chart names the oldest");
    let tried = between(&binaries, "KUBERNETES_VERSION: &str = \"v", "\"").next().expect("a version");
    let tried = tried.rsplit_once('.').map_or(tried, |(minor, _)| minor);
    assert_says("docs/install.md", &format!("Kubernetes {oldest} or newer (the tests run {tried})"));
    assert_says("README.md", &format!("Kubernetes {tried} made of namespaces"));
}

#[test]
fn every_file_a_document_links_to_or_names_is_there() {
    let top: BTreeSet<String> = fs::read_dir(root())
        .expect("the root")
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    for document in DOCUMENTS {
        let text = read(document);
        let folder = root().join(document).parent().expect("a folder").to_path_buf();
        for link in between(&text, "](", ")").filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let path = link.split('#').next().unwrap_or_default();
            assert!(folder.join(path).exists(), "{document} links to {link}");
        }
        for named in between(&text, "`", "`").filter(|named| !named.contains(char::is_whitespace)) {
            let is_path = named.split_once('/').is_some_and(|(first, _)| top.contains(first));
            // Relative to the root, or to where the document lies.
            let is_there = root().join(named).exists() || folder.join(named).exists();
            assert!(!is_path || is_there || named.contains('*'), "{document} names {named}");
        }
    }
}

#[test]
fn every_metric_a_document_names_is_registered() {
    let mut n_metrics = 0;
    for document in DOCUMENTS {
        for metric in between(&read(document), "`calls_", "`") {
            let (program, name) = metric.split_once('_').unwrap_or((metric, ""));
            let name = name.split('{').next().unwrap_or_default();
            let registered = read(&format!("{program}/src/metrics.rs"));
            // The library adds the unit and the kind to what is registered.
            let short = name.trim_end_matches("_total").trim_end_matches("_seconds").trim_end_matches("_bytes");
            let is_there = [name, short].iter().any(|name| registered.contains(&format!("\"{name}\"")));
            assert!(is_there, "{document} names calls_{metric}");
            n_metrics += 1;
        }
    }
    assert!(n_metrics > 5, "only {n_metrics} metrics were found");
}

#[test]
fn every_example_is_in_the_install_guide() {
    for example in files("examples", "yaml") {
        assert_says("docs/install.md", &format!("| `{example}` |"));
    }
}

/// Names in the `[dependencies]`, `[build-dependencies]` or `[dev-dependencies]` of a manifest.
fn dependencies(folder: &str, section: &str) -> Vec<String> {
    let manifest = read(&format!("{folder}/Cargo.toml"));
    let mut lines = manifest.lines().skip_while(|line| *line != format!("[{section}]")).skip(1);
    let lines = lines.by_ref().take_while(|line| !line.starts_with('['));
    lines
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn crates_import_only_those_of_ours_that_architecture_lets_them() {
    let ours: Vec<&str> = IMPORTS.iter().map(|(name, ..)| *name).collect();
    for (name, folder, allowed) in IMPORTS {
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            for dependency in dependencies(folder, section).iter().filter(|found| ours.contains(&found.as_str())) {
                assert!(allowed.contains(&dependency.as_str()), "{name} must not import {dependency} ({section})");
            }
        }
    }
    let members = read("Cargo.toml");
    let members = between(&members, "members = [", "]").next().expect("members").split(',').count();
    assert_eq!(members, IMPORTS.len(), "a member of the workspace is not in the table above");
}

#[test]
fn the_core_depends_on_no_runtime_socket_or_clock() {
    let found = dependencies("sfu/core", "dependencies");
    assert!(found.len() > 5, "{found:?}");
    for absent in
        ["tokio", "mio", "socket2", "quinn-udp", "async-io", "futures-util", "axum", "hyper", "time", "chrono"]
    {
        assert!(!found.iter().any(|name| name == absent), "sfu-core depends on {absent}");
    }
}

/// Fails for a line of code in `files` that has one of `words`.
fn assert_absent(files: impl IntoIterator<Item = String>, words: &[&str], why: &str) {
    let mut n_files = 0;
    for file in files {
        n_files += 1;
        for (line, text) in read(&file).lines().enumerate().filter(|(_, text)| !text.trim_start().starts_with("//")) {
            let found = words.iter().find(|word| text.contains(**word));
            assert!(found.is_none(), "{file}:{}: {} ({why})", line + 1, text.trim());
        }
    }
    assert!(n_files > 0, "no file was looked at ({why})");
}

#[test]
fn no_queue_is_unbounded() {
    let sources =
        ["fleet", "sfu", "director", "operator", "recorder", "e2e"].into_iter().flat_map(|folder| files(folder, "rs"));
    let words = ["unbounded_channel", "UnboundedSender", "mpsc::unbounded", "mpsc::channel()", "crossbeam"];
    assert_absent(sources, &words, "a queue has a size, and what does not fit is counted");
}

#[test]
fn no_lock_is_on_the_media_path() {
    assert_absent(files("sfu/src/worker", "rs"), &["Mutex", "RwLock"], "one thread owns an engine; nothing is shared");
}

/// Files that may pause, because what they send has a pace or the trouble they make lasts; they wait for nothing by it.
const PACED: &[&str] = &["tests/tests/loopback/garbage.rs", "e2e/src/tests/garbage.rs", "e2e/src/tests/chaos.rs"];

/// A helper that looks again and again, within a limit, does not sleep but waits on a condition.
#[test]
fn no_test_sleeps() {
    let folders =
        ["sfu/core/tests", "director/tests", "operator/src/cluster/tests", "recorder/tests", "tests", "e2e/src/tests"];
    let sources = folders.into_iter().flat_map(|folder| files(folder, "rs"));
    let others = sources.filter(|file| !file.ends_with("tests/documents.rs") && !PACED.contains(&file.as_str()));
    for file in others {
        let text = read(&file);
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("sleep(")) {
            let polls = lines[at.saturating_sub(8)..at]
                .iter()
                .any(|line| ["deadline", "limit"].iter().any(|word| line.to_lowercase().contains(word)));
            assert!(polls, "{file}:{}: {}: wait on a condition with a limit", at + 1, line.trim());
        }
    }
}

/// Crates with fuzz targets, which are no members of the workspace.
const FUZZED: &[&str] = &["sfu/core", "sfu"];

#[test]
fn every_fuzz_target_has_a_corpus_and_a_check_that_a_test_replays_over_it() {
    for folder in FUZZED {
        let targets = files(&format!("{folder}/fuzz/fuzz_targets"), "rs");
        assert!(!targets.is_empty(), "{folder}");
        let replayed = read(&format!("{folder}/tests/corpus.rs"));
        for target in targets {
            let name = Path::new(&target).file_stem().expect("a name").to_string_lossy().into_owned();
            for path in [format!("{folder}/fuzz/checks/{name}.rs"), format!("{folder}/fuzz/corpus/{name}")] {
                assert!(root().join(&path).exists(), "{target} wants {path}");
            }
            let is_replayed =
                replayed.contains(&format!("(\"{name}\", ")) && replayed.contains(&format!("{name}::check"));
            assert!(is_replayed, "{folder}/tests/corpus.rs does not replay {name}");
            assert_says("CONTRIBUTING.md", &format!("`{name}`"));
        }
    }
}
