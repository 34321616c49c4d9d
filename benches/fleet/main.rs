//! What the proxy is held to: a thousand routers in one process, a twentieth of them black holes and a twentieth slow.
//!
//!     SITEPEER=target/release/sitepeer cargo bench --profile dev --bench fleet              # 1,000 routers
//!     cargo bench --bench fleet -- --routers 200 --secs 30
//!     cargo bench --bench fleet -- --routers 10000 --minutes 10    # not in CI: 15 minutes, 9 GB for the simulators
//!
//! The routers are simulated in processes of this program, each with real tunnels to a hub end; the proxy is the real program, started
//! twice: once on clean routers, and once on routers that are as wanted already. Memory is judged: it is the higher the more are read at once.
//! Times and CPU shares are shown, not judged: simulator, hub end and proxy share this machine's cores.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

mod crowd;
#[path = "../hub/figures.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod figures;
mod proxy;
mod routers;

use crowd::{Crowd, Nature};
use figures::{Figures, heading, millis, say};
use proxy::{Count, Proxy};

/// What is measured unless arguments say otherwise.
const ROUTERS: usize = 1_000;
const SECS: usize = 60;
/// How often a router is read whole, as the proxy does unless told otherwise.
const PERIOD_SECS: usize = 900;
/// What the proxy may take for a thousand routers, in KiB.
const MEMORY_BUDGET_KIB: u64 = 150 * 1024;
/// Within this every healthy router has to be looked at once, from a cold start.
const SWEEP_BUDGET: Duration = Duration::from_secs(10);
/// Longest time between two looks at a router whose tunnel is up, with what a look itself takes.
const LATE_AFTER: Duration = Duration::from_secs(35);
/// How long clean routers may take to be as wanted, or two thousand that are until all were looked at: the simulator is not built for
/// speed.
const PATIENCE: Duration = Duration::from_mins(10);
/// Of more, one in each process is provisioned by the proxy, and the others get its rows: what is shown of so many is the steady state.
const MOST_PROVISIONED: usize = 2_000;
/// Between two looks at the metrics of two thousand routers, which the proxy has to write each time; more are looked at less often.
const LOOK_EVERY: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Without it, cargo test has built this and wants to know its tests: there are none.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let number = |name: &str, default: usize| {
        let value = arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
        value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} takes a number, not {value:?}")))
    };
    let (count, secs) = (number("--routers", ROUTERS), number("--minutes", 0) * 60);
    let secs = if secs > 0 { secs } else { number("--secs", SECS) };
    let period = u64::try_from(number("--period", PERIOD_SECS)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let first = number("--simulate", usize::MAX);
    if first < usize::MAX {
        runtime.block_on(routers::serve(first..number("--until", first)));
        return ExitCode::SUCCESS;
    }
    let mut figures = Figures::default();
    let (watched, most) =
        (Duration::from_secs(u64::try_from(secs).unwrap()), number("--provisioned", MOST_PROVISIONED));
    runtime.block_on(measure(&mut figures, (count, most), watched, period));
    figures.end()
}

async fn measure(figures: &mut Figures, (count, most): (usize, usize), watched: Duration, period: u64) {
    heading(&format!("{count} routers in one proxy"));
    let mut crowd = Crowd::start(count).await;
    let living = count - crowd.of(Nature::Dead);
    say("black holes, and slow ones", &format!("{} and {}", count - living, crowd.of(Nature::Slow)));

    let so_many = u32::try_from(count.div_ceil(2_000)).unwrap();
    let (patience, look_every) = (PATIENCE * so_many, LOOK_EVERY * so_many);
    let all: Vec<usize> = (0..count).collect();
    let first = if count > most { crowd.models() } else { all.clone() };
    provision(&mut crowd, &first, period).await;

    let writes = crowd.writes().await;
    let begun = Instant::now();
    let mut proxy = Proxy::start(&crowd, &all, period);
    while proxy.count(&crowd).await.healthy(|count| count.looks > 0) < living {
        assert!(begun.elapsed() < patience, "routers are not looked at");
        tokio::time::sleep(look_every / 5).await;
    }
    let sweep = begun.elapsed();
    say("from a cold start until each was looked at", &against_budget(sweep, count));
    watch(figures, &mut proxy, &crowd, watched).await;
    let written = crowd.writes().await - writes;
    figures.holds("writes to routers that are as wanted", &written.to_string(), written == 0);
    proxy.stop().await;
}

/// A time that is meant for a thousand routers; of more it is only shown.
fn against_budget(sweep: Duration, count: usize) -> String {
    let ratio = sweep.as_secs_f64() / SWEEP_BUDGET.as_secs_f64();
    match count {
        0..=1000 if ratio > 1.0 => format!("{}: {ratio:.2} of {}  OVER BUDGET", millis(sweep), millis(SWEEP_BUDGET)),
        0..=1000 => format!("{}: {ratio:.2} of {}", millis(sweep), millis(SWEEP_BUDGET)),
        _ => format!("{:.1} s", sweep.as_secs_f64()),
    }
}

/// Has a proxy make routers as they are wanted; all others get the same rows.
async fn provision(crowd: &mut Crowd, numbers: &[usize], period: u64) {
    let living = numbers.iter().filter(|number| !Nature::of(**number).is_dead()).count();
    let begun = Instant::now();
    let mut proxy = Proxy::start(crowd, numbers, period);
    loop {
        let count = proxy.count(crowd).await;
        let (watching, up) = (count.healthy(|count| count.watching), count.healthy(|count| count.up));
        if up == living {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "of {living} clean routers {watching} are as wanted, {up} have a tunnel");
        crowd.tell_hubs().await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let (took, writes) = (begun.elapsed().as_secs_f64(), crowd.writes().await);
    say("clean routers as wanted, with tunnels", &format!("{took:.1} s, {writes} writes"));
    proxy.stop().await;
    if numbers.len() < crowd.count() {
        let copies = crowd.copy().await;
        say("others that got the same rows", &format!("{copies}, after {:.1} s", begun.elapsed().as_secs_f64()));
    }
    let all = u64::try_from(crowd.count() - crowd.of(Nature::Dead)).unwrap();
    assert_eq!(crowd.tell_hubs().await, all, "routers without a key");
}

/// Watches the steady state.
async fn watch(figures: &mut Figures, proxy: &mut Proxy, crowd: &Crowd, watched: Duration) {
    let (begun, before, cpu) = (Instant::now(), proxy.count(crowd).await, proxy.cpu());
    let mut seen = vec![(0, begun); crowd.count()];
    let (mut latest, mut late) = (Duration::ZERO, 0_usize);
    while begun.elapsed() < watched {
        let now = proxy.count(crowd).await;
        for (number, (looks, when)) in
            seen.iter_mut().enumerate().filter(|(number, _)| Nature::of(*number) == Nature::Healthy)
        {
            let count = now.of(number);
            if count.looks > *looks {
                (*looks, *when) = (count.looks, Instant::now());
            } else {
                latest = latest.max(when.elapsed());
                late += usize::from(when.elapsed() > LATE_AFTER);
            }
        }
        tokio::time::sleep(2 * LOOK_EVERY * u32::try_from(crowd.count().div_ceil(2_000)).unwrap()).await;
    }
    let after = proxy.count(crowd).await;
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let a_router_minute = |of: fn(&Count) -> u64| {
        (after.sum(of) - before.sum(of)) as f64 / minutes / (crowd.count() - crowd.of(Nature::Dead)) as f64
    };
    say(
        "longest without a look at a healthy router",
        &format!("{:.1} s; later than {} s: {late}", latest.as_secs_f64(), LATE_AFTER.as_secs()),
    );
    say(
        "looks, commands, bytes of them a router-minute",
        &format!(
            "{:.1}, {:.1}, {:.0}",
            a_router_minute(|count| count.looks),
            a_router_minute(|count| count.commands),
            a_router_minute(|count| count.bytes)
        ),
    );
    let share = proxy.cpu().saturating_sub(cpu).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    let thousands = f64::from(u32::try_from(crowd.count()).unwrap()) / 1000.0;
    let figure = format!("{share:.0} %, {:.1} % for each 1,000 routers", share / thousands);
    say("CPU of one core, the answers to this bench included", &figure);
    let (now, most) = proxy.memory_kib();
    let each = now * 1024 / u64::try_from(crowd.count()).unwrap();
    // For fewer than a thousand it is what the program itself takes that counts.
    let budget = MEMORY_BUDGET_KIB * u64::try_from(crowd.count()).unwrap().max(1000) / 1000;
    let figure =
        format!("{} MiB of {} MiB (at most {} MiB), {each} bytes a router", now / 1024, budget / 1024, most / 1024);
    figures.holds("memory", &figure, now <= budget);
    say("healthy routers whose tunnel is up", &after.healthy(|count| count.up).to_string());
    say("black holes that count as away", &after.odd(|count| count.away).to_string());
}
