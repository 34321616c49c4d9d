//! What this host has for a data plane: each part is tried, not guessed, in a namespace that ends afterwards.

use std::fs::File;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::PlaneError;
use super::firewall;
use super::host;
use super::links::Links;
use super::namespace;
use super::trouble::Doing;
use crate::api::Backend;

/// A part that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which part; stable, for programs.
    pub code: &'static str,
    /// What the part is for, in words.
    pub part: &'static str,
    /// How it stands.
    pub state: PartState,
    /// What was seen, or why it failed.
    pub detail: String,
    /// What to do, if something is.
    pub hint: Option<&'static str>,
}

/// How a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartState {
    /// It works.
    Works,
    /// It works, but something deserves a look.
    Look,
    /// It does not work.
    Lacking,
    /// It was not tried, because what it needs is lacking.
    NotTried,
}

/// Everything that was looked at, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings(pub Vec<Finding>);

/// Parts that both rooted backends need.
const SHARED: [&str; 3] = ["namespaces", "veth", "nftables"];

impl Findings {
    /// Tells whether a part works.
    #[must_use]
    pub fn works(&self, code: &str) -> bool {
        self.0.iter().any(|finding| finding.code == code && matches!(finding.state, PartState::Works | PartState::Look))
    }

    /// The parts that a backend needs and that are lacking.
    #[must_use]
    pub fn lacking(&self, backend: Backend) -> Vec<&Finding> {
        let own = match backend {
            Backend::Kernel => "kernel-wireguard",
            Backend::Userspace => "tun",
            Backend::Rootless => return Vec::new(),
        };
        let needed = |finding: &&Finding| finding.code == own || SHARED.contains(&finding.code);
        self.0.iter().filter(needed).filter(|finding| !self.works(finding.code)).collect()
    }

    /// Chooses a backend: the one that is wanted, else the kernel's, else embedded on TUN, else the rootless one.
    ///
    /// # Errors
    /// [`PlaneError`] that names what the wanted backend lacks.
    pub fn choose(&self, wanted: Option<Backend>) -> Result<Backend, PlaneError> {
        let Some(wanted) = wanted else {
            let works = |backend: &Backend| self.lacking(*backend).is_empty();
            return Ok([Backend::Kernel, Backend::Userspace].into_iter().find(works).unwrap_or(Backend::Rootless));
        };
        let lacking: Vec<String> =
            self.lacking(wanted).iter().map(|finding| format!("{}: {}", finding.part, finding.detail)).collect();
        if lacking.is_empty() {
            return Ok(wanted);
        }
        Err(PlaneError::new(format!("this host cannot serve the wanted backend: {}", lacking.join("; "))))
    }
}

/// Looks at everything.
///
/// # Cancel safety
/// Safe: what it makes ends by itself.
pub async fn probe() -> Findings {
    let mut findings = vec![namespaces().await];
    let may = findings[0].state == PartState::Works;
    findings.push(tried(may, VETH, try_veth()).await);
    findings.push(tried(may, NFTABLES, try_nftables()).await);
    findings.push(tried(may, KERNEL, try_wireguard()).await);
    findings.push(tried(may, TUN, try_tun()).await);
    findings.push(forwarding());
    findings.push(others_rules().await);
    Findings(findings)
}

/// A part before it was tried.
struct Part {
    code: &'static str,
    name: &'static str,
    hint: &'static str,
}

const NAMESPACES: Part = Part {
    code: "namespaces",
    name: "network namespaces",
    hint: "run as root, or with CAP_SYS_ADMIN and CAP_NET_ADMIN, and with /run/netns writable",
};
const VETH: Part = Part { code: "veth", name: "links between namespaces", hint: "load the kernel module veth" };
const NFTABLES: Part = Part {
    code: "nftables",
    name: "firewall rules",
    hint: "install nftables; the kernel needs nf_tables with nat, fib and reject",
};
const KERNEL: Part = Part {
    code: "kernel-wireguard",
    name: "WireGuard of the kernel",
    hint: "load the kernel module wireguard, or use the userspace backend",
};
const TUN: Part = Part {
    code: "tun",
    name: "TUN devices",
    hint: "load the kernel module tun, and let the service open /dev/net/tun",
};

async fn tried(may: bool, part: Part, work: impl Future<Output = Result<String, PlaneError>>) -> Finding {
    let (state, detail) = if may {
        match work.await {
            Ok(detail) => (PartState::Works, detail),
            Err(error) => (PartState::Lacking, said(&error)),
        }
    } else {
        (PartState::NotTried, "needs a network namespace".to_owned())
    };
    let hint = (state == PartState::Lacking).then_some(part.hint);
    Finding { code: part.code, part: part.name, state, detail, hint }
}

/// An error with its reasons in a line.
fn said(error: &PlaneError) -> String {
    let mut text = error.what.clone();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

async fn namespaces() -> Finding {
    let try_it = async {
        namespace::scratch(|| Ok(())).await?;
        Ok("one was made and ended".to_owned())
    };
    tried(true, NAMESPACES, try_it).await
}

/// Runs something with netlink in a scratch namespace, whose thread may block.
async fn with_links<F, W>(work: W) -> Result<String, PlaneError>
where
    F: Future<Output = Result<String, PlaneError>>,
    W: FnOnce(Links) -> F + Send + 'static,
{
    namespace::scratch(|| {
        let links = Links::here()?;
        Handle::current().block_on(work(links))
    })
    .await
}

async fn try_veth() -> Result<String, PlaneError> {
    with_links(async |links| {
        links.try_veth().await?;
        Ok("a pair was made".to_owned())
    })
    .await
}

async fn try_wireguard() -> Result<String, PlaneError> {
    with_links(async |links| {
        links.add_wireguard("probe").await?;
        Ok("a link was made".to_owned())
    })
    .await
}

async fn try_tun() -> Result<String, PlaneError> {
    namespace::scratch(|| {
        let device = "/dev/net/tun";
        File::options().read(true).write(true).open(device).doing(|| format!("open {device}"))?;
        Ok(format!("{device} opens"))
    })
    .await
}

/// Loads both of our rule sets where they harm nobody.
async fn try_nftables() -> Result<String, PlaneError> {
    let arguments = ["-f".to_owned(), "-".to_owned()];
    let child = namespace::scratch(move || firewall::start(&arguments)).await?;
    let script = format!("{}{}", firewall::INSTANCE, firewall::HOST.replace("inet sitepeer", "inet sitepeer_host"));
    let output = timeout(firewall::DEADLINE, firewall::finish(child, script)).await;
    let output = output.doing(|| "wait for nft".to_owned())?.doing(|| "run nft".to_owned())?;
    if output.status.success() {
        return Ok("our rules load".to_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(PlaneError::new(format!("our rules do not load: {}", text.lines().next().unwrap_or("no reason given"))))
}

fn forwarding() -> Finding {
    let (state, detail, hint) = match host::is_forwarding() {
        Ok(true) => (PartState::Works, "it is on".to_owned(), None),
        Ok(false) => (
            PartState::Look,
            "it is off, and is switched on with the first pushed route or full tunnel".to_owned(),
            Some("set net.ipv4.ip_forward = 1 to have it on from the start"),
        ),
        Err(error) => (PartState::Lacking, said(&error), None),
    };
    Finding { code: "forwarding", part: "the host forwards IPv4", state, detail, hint }
}

/// Looks for rules of others that drop what is forwarded: ours cannot overrule them.
async fn others_rules() -> Finding {
    let part = "other firewall rules of the host";
    let finding = |state, detail: String, hint| Finding { code: "forward-policy", part, state, detail, hint };
    let hint = "let it accept what comes from and goes to the interfaces sp-*, such as in the chain DOCKER-USER";
    match firewall::ask(&["list", "chains"]).await {
        Ok(Some(chains)) => match firewall::dropping(&chains).as_slice() {
            [] => finding(PartState::Works, "none drops what is forwarded by policy".to_owned(), None),
            tables => {
                finding(PartState::Look, format!("forwarded packets are dropped by {}", tables.join(", ")), Some(hint))
            }
        },
        Ok(None) => finding(PartState::NotTried, "nft does not list the host's chains".to_owned(), None),
        Err(error) => finding(PartState::NotTried, said(&error), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(states: &[(&'static str, PartState)]) -> Findings {
        let finding = |&(code, state)| Finding { code, part: code, state, detail: "x".to_owned(), hint: None };
        Findings(states.iter().map(finding).collect())
    }

    #[test]
    fn the_kernel_is_chosen_before_userspace_before_rootless() {
        use PartState::{Lacking, NotTried, Works};
        let shared = [("namespaces", Works), ("veth", Works), ("nftables", Works)];
        let with = |kernel, tun| findings(&[&shared[..], &[("kernel-wireguard", kernel), ("tun", tun)]].concat());
        assert_eq!(with(Works, Works).choose(None).unwrap(), Backend::Kernel);
        assert_eq!(with(Lacking, Works).choose(None).unwrap(), Backend::Userspace);
        assert_eq!(with(Lacking, Lacking).choose(None).unwrap(), Backend::Rootless);
        let nothing =
            findings(&[("namespaces", Lacking), ("veth", NotTried), ("nftables", NotTried), ("tun", NotTried)]);
        assert_eq!(nothing.choose(None).unwrap(), Backend::Rootless);
        assert_eq!(nothing.choose(Some(Backend::Rootless)).unwrap(), Backend::Rootless);
    }

    #[test]
    fn a_wanted_backend_that_cannot_be_is_refused_with_what_it_lacks() {
        let lacking = findings(&[("namespaces", PartState::Works), ("nftables", PartState::Lacking)]);
        let error = lacking.choose(Some(Backend::Userspace)).unwrap_err();
        assert!(error.what.contains("nftables: x"), "{error}");
    }
}
