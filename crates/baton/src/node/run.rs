//! The daemon's loop: a tick, then work from outside until the next one is due. Work that waits is moved on in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::config::LogConfig;
use super::http::{Answer, Api, Job, Working, go_on, serve, work};
use super::waiting::{LOOK, Waits};
use super::{Node, watch_peers};

/// Runs until SIGTERM or SIGINT. Being killed is safe too: nothing is lost.
pub fn run(mut node: Node) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, stop.clone()).context("signals cannot be caught")?;
    }
    let config = node.home().config().clone();
    let (jobs, work_to_do) = channel::<Job>();
    let api = Arc::new(Api {
        shared: node.shared().clone(),
        sources: node.sources().clone(),
        vault: node.home().path("vault"),
        token: node.home().token()?,
        jobs: Mutex::new(jobs),
        started: Instant::now(),
        published: Mutex::default(),
    });
    let mut threads = serve(&api, config.listen, &stop)?;
    let (follower, stopping) = (node.follower(), stop.clone());
    threads.push(std::thread::spawn(move || follower.run(&stopping)));
    let rpc = node.sources().rpc.clone();
    let (urls, roots, shared, vault, stopping) = (config.peers.clone(), node.roots.clone(), node.shared().clone(), node.home().path("vault"), stop.clone());
    threads.push(std::thread::spawn(move || watch_peers::run(&urls, &roots, &rpc, &shared, &vault, &stopping)));
    tracing::info!(name = %config.name, listen = %config.listen, chain = %config.chain.id, "the node runs");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let every = Duration::from_millis(config.chain.poll_ms);
    let mut due = Instant::now();
    let mut waiting: Vec<(Box<dyn Waits>, SyncSender<Answer>)> = Vec::new();
    let mut looked = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() >= due {
            node.tick();
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            due = Instant::now() + every;
        }
        let wait = due.saturating_duration_since(Instant::now()).min(Duration::from_millis(200));
        match work_to_do.recv_timeout(wait) {
            Ok(job) => match work(&mut node, job.what) {
                Working::Done(answer) => {
                    let _ = job.reply.send(answer);
                }
                Working::Waits(more) => waiting.push((more, job.reply)),
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if looked.elapsed() >= LOOK {
            waiting.retain_mut(|(job, reply)| match go_on(&mut node, job.as_mut()) {
                None => true,
                Some(answer) => {
                    let _ = reply.send(answer);
                    false
                }
            });
            looked = Instant::now();
        }
    }
    tracing::info!("stopping");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    drop(work_to_do);
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

/// Structured logs on stderr.
pub fn logs(config: &LogConfig) {
    let level = config.level.parse().unwrap_or(tracing::Level::INFO);
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(false);
    // A second call in one process keeps the first.
    let _ = match config.format.as_str() {
        "json" => builder.json().try_init(),
        _ => builder.with_target(false).try_init(),
    };
}
