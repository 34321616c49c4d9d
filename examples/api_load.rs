//! A driver for the benchmark of RouterOS API clients: `api_load HOST PORT WORKLOAD N`.
//!
//! Prints `rows=<completed> seconds=<time of the workload>`; with `-tls` after the workload, PORT speaks TLS and the
//! certificate that is met first is the pin for the rest of the run. Workloads: `decode`, `collect`, `seq`, `pipe64`, `connect`,
//! `fleet`. Not part of the product: it shows what the client costs, and how it is used.
#![expect(clippy::print_stdout, reason = "the result line is what a driver is for")]

use std::time::Instant;

use anyhow::{Context, Result, bail};
use sitepeer::{
    domain::Secret,
    routeros::{
        Access, Client, Command, RouterUrl, connect,
        target::{Deadlines, Plaintext},
        tls::{FirstSeen, Trust},
    },
};

/// What an exporter asks of each router on a scrape.
const SCRAPE: [&str; 4] =
    ["/system/identity/print", "/system/resource/print", "/interface/print", "/interface/vlan/print"];

/// Callers of `pipe64`.
const OUTSTANDING: u64 = 64;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, workload, n] = &arguments[..] else {
        bail!("usage: api_load HOST PORT WORKLOAD N");
    };
    let n: u64 = n.parse().context("N")?;
    let (workload, scheme) = match workload.strip_suffix("-tls") {
        Some(workload) => (workload, "apis"),
        None => (workload.as_str(), "api"),
    };
    let url: RouterUrl = format!("{scheme}://admin@{host}:{port}").parse()?;
    let access = Access {
        url,
        password: Secret::new("bench".to_owned()),
        trust: Trust::FirstSeen(FirstSeen::default()),
        plaintext: Plaintext::Refuse,
        deadlines: Deadlines::default(),
    };
    let (rows, since) = match workload {
        "decode" => decode(&access, n).await?,
        "collect" => collect(&access, n).await?,
        "seq" => seq(&access, n).await?,
        "pipe64" => pipe(&access, n).await?,
        "connect" => connects(&access, n).await?,
        "fleet" => fleet(&access, n).await?,
        _ => {
            println!("unsupported");
            std::process::exit(3);
        }
    };
    println!("rows={rows} seconds={:.6}", since.elapsed().as_secs_f64());
    Ok(())
}

fn routes(n: u64) -> Command {
    Command::new(&format!("/bench/routes-{n}/print"))
}

async fn decode(access: &Access, n: u64) -> Result<(u64, Instant)> {
    let router = connect(access).await?;
    let since = Instant::now();
    let mut call = router.stream(&routes(n)).await?;
    let mut rows = 0;
    while let Some(row) = call.next().await {
        row?.get("dst-address").context("a route without dst-address")?;
        rows += 1;
    }
    Ok((rows, since))
}

async fn collect(access: &Access, n: u64) -> Result<(u64, Instant)> {
    let router = connect(access).await?;
    let since = Instant::now();
    let reply = router.call(&routes(n)).await?;
    println!("rows={} seconds={:.6}", reply.rows.len(), since.elapsed().as_secs_f64());
    // As the other drivers: giving the rows back is not what is measured.
    std::process::exit(0)
}

async fn seq(access: &Access, n: u64) -> Result<(u64, Instant)> {
    let router = connect(access).await?;
    let noop = Command::new("/ping-noop");
    let since = Instant::now();
    for _ in 0..n {
        router.call(&noop).await?;
    }
    Ok((n, since))
}

async fn pipe(access: &Access, n: u64) -> Result<(u64, Instant)> {
    let router = connect(access).await?;
    let noop = Command::new("/ping-noop");
    let since = Instant::now();
    let callers: Vec<_> = (0..OUTSTANDING)
        .map(|caller| {
            let (router, noop) = (router.clone(), noop.clone());
            let share = n / OUTSTANDING + u64::from(caller < n % OUTSTANDING);
            tokio::spawn(async move {
                for _ in 0..share {
                    router.call(&noop).await?;
                }
                anyhow::Ok(share)
            })
        })
        .collect();
    let mut rows = 0;
    for caller in callers {
        rows += caller.await??;
    }
    Ok((rows, since))
}

async fn connects(access: &Access, n: u64) -> Result<(u64, Instant)> {
    let since = Instant::now();
    for _ in 0..n {
        connect(access).await?.close().await;
    }
    Ok((n, since))
}

async fn fleet(access: &Access, n: u64) -> Result<(u64, Instant)> {
    let mut routers: Vec<Client> = Vec::new();
    for _ in 0..n {
        routers.push(connect(access).await?);
    }
    let since = Instant::now();
    let prints: Vec<_> = routers
        .iter()
        .flat_map(|router| SCRAPE.map(|path| (router.clone(), Command::new(path))))
        .map(|(router, print)| tokio::spawn(async move { router.call(&print).await }))
        .collect();
    let mut rows = 0;
    for print in prints {
        rows += print.await??.rows.len() as u64;
    }
    Ok((rows, since))
}
