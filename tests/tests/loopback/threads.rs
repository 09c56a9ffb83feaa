//! Calls that live on several media threads.

use calls_tests::live::{Join, Mode, Server};
use calls_tests::server;

/// Three threads, and no more than two people of a call on each.
const SPREAD: &[&str] = &["--workers", "3", "--people-per-worker", "2"];

/// Datagrams that came to another thread's socket than their client's.
async fn strays(server: &Server) -> f64 {
    server.metric("calls_sfu_worker_strays_total", "").await
}

#[tokio::test]
async fn people_on_different_threads_hear_each_other() {
    let server = server!("info", SPREAD);
    let mut people = Vec::new();
    for number in 0..6 {
        let mode = if number % 2 == 0 { Mode::Single } else { Mode::Dual };
        people.push(Join::new(&format!("person-{number}")).mode(mode).speaking().to(&server).await);
    }
    for ear in &people {
        for mouth in people.iter().filter(|mouth| mouth.voice() != ear.voice()) {
            ear.hears(&mouth.voice()).await;
        }
    }
    let relayed = server.metric("calls_sfu_relayed_messages_total", "").await;
    assert!(relayed > 0.0, "nothing went from thread to thread");
}

#[tokio::test]
async fn who_leaves_and_who_comes_changes_nothing_for_the_others() {
    let server = server!("info", SPREAD);
    let ana = Join::new("ana").speaking().to(&server).await;
    let ben = Join::new("ben").speaking().to(&server).await;
    let cem = Join::new("cem").choosing_tracks().to(&server).await;
    let sid = cem.sees_track("ana").await;
    for _ in 0..3 {
        cem.subscribe(&sid, true);
        cem.hears(&ana.voice()).await;
        cem.subscribe(&sid, false);
        let dana = Join::new("dana").to(&server).await;
        dana.hears(&ana.voice()).await;
        dana.hears(&ben.voice()).await;
    }
    ben.hears(&ana.voice()).await;
}

#[tokio::test]
async fn threads_keep_to_the_cpu_they_are_pinned_to() {
    let cpus = |pinning: &'static str| {
        let server = server!("info", &["--workers", "2", "--pin-workers", pinning]);
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("its threads");
        let status = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.expect("a thread").path().join("status")).expect("its status")
        };
        let of = |status: &str, name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).expect("a value").trim().to_owned()
        };
        let media = tasks.map(status).filter(|status| of(status, "Name:").starts_with("media-"));
        media.map(|status| of(&status, "Cpus_allowed_list:")).collect::<Vec<_>>()
    };
    let (pinned, free) = (cpus("always"), cpus("never"));
    assert_eq!(pinned.len(), 2);
    assert!(pinned.iter().all(|cpus| cpus.parse::<usize>().is_ok()), "one CPU each: {pinned:?}");
    let all = std::thread::available_parallelism().expect("CPUs").get();
    assert!(all == 1 || free.iter().all(|cpus| cpus.parse::<usize>().is_err()), "all CPUs: {free:?}");
}

#[tokio::test]
async fn datagrams_come_to_the_thread_that_has_the_client() {
    let server = server!("info", SPREAD);
    let mut people = Vec::new();
    for number in 0..6 {
        people.push(Join::new(&format!("person-{number}")).speaking().to(&server).await);
    }
    let last = people.len() - 1;
    for _ in 0..10 {
        // Threads report once a second.
        let before = strays(&server).await;
        for _ in 0..5 {
            people[last].hears(&people[0].voice()).await;
        }
        if strays(&server).await <= before {
            return;
        }
    }
    panic!("datagrams still come to other threads than their client's");
}
