//! What hub, gateway, agent and command line say to each other: the JSON shapes below `/v1`, and the limits they share.
//!
//! Shapes only: no I/O, no rules. Times are Unix seconds (`…_at`) unless a name says otherwise, bytes are counted as they are,
//! ids are short, random and never change. Readers ignore fields they do not know, so that an older agent talks to a newer hub;
//! the hub's own requests are closed (`deny_unknown_fields`), so that a misspelt field is an error and not a silent default.

mod account;
mod agent;
mod audit;
mod enrollment;
mod event;
mod gateway;
mod health;
mod id;
mod instance;
mod page;
mod peer;
mod problem;
mod profile;
mod proxy;
mod rotation;
mod site;
mod site_health;
mod token;

pub use account::{Account, AccountEdit, DEFAULT_MAX_INSTANCES, NewAccount};
pub use agent::{
    AgentApplied, AgentDesired, AgentReport, AgentReports, AppliedNext, DeviceFacts, EnrollReply, EnrollRequest,
    HubEnd, NextTunnel, ReportsTaken, SiteConfig, TunnelEnd, TunnelHealth,
};
pub use audit::AuditEntry;
pub use enrollment::{Enrollment, EnrollmentKind, EnrollmentMade, EnrollmentState, NewEnrollment};
pub use event::{AgentEvent, EventKind, MAX_EVENTS, SiteEvent};
pub use gateway::{
    Backend, Gateway, GatewayApplied, GatewayDesired, GatewayDevice, GatewayDeviceApplied, GatewayHello,
    GatewayInstance, GatewayInstanceApplied, GatewayMove, GatewayPeer, GatewayPeerFailed, GatewayReport,
    GatewayWelcome, MAX_DEVICES, PeerTraffic, RemovedPeer,
};
pub use health::{
    HealthFinding, HealthSample, MAX_CODE, MAX_FACT, MAX_FINDING_TEXT, MAX_FINDINGS, RoundTrip, Severity, TunnelState,
};
pub use id::{AccountId, EnrollmentId, GatewayId, ID_LENGTH, InstanceId, PeerId, TokenId};
pub use instance::{
    Instance, InstanceEdit, InstanceStatus, NewInstance, Policy, RESERVED_HOSTNAMES, Readiness, Step, StepState, Usage,
};
pub use page::{DEFAULT_PAGE, MAX_PAGE, Page};
pub use peer::{Link, NewPeer, Peer, PeerEdit, PeerKind, PeerStatus, Protocol};
pub use problem::{PROBLEM_TYPE, Problem, code};
pub use profile::{PRIVATE_KEY_PLACEHOLDER, ProfileFormat};
pub use proxy::{
    LEASE_MS, LeaseReply, LeaseRequest, LeasedSite, MAX_LEASES, MAX_ROUTER_URL, MAX_TAKEN, ProxyAssignment, SiteLease,
};
pub use rotation::{DeviceState, InstanceDevice, MAX_ROTATE_DAYS, MoveCause, MoveStep, PeerMove};
pub use site::{NewSite, Site, SiteEdit, SiteSubnet, SiteSubnets};
pub use site_health::{
    AgentEnd, Availability, Freeze, GatewayEnd, HealthHour, HealthPoint, MAX_FREEZE_REASON, MAX_FREEZE_SECS, NewFreeze,
    PeerHealth, SiteHealth, SiteVerdict, Transition,
};
pub use token::{NewToken, Role, Token, TokenMade, WhoAmI};

pub use crate::domain::SiteId;

/// Longest wait that a long-poll may ask for, in seconds: below what proxies and NAT boxes give an idle connection.
pub const MAX_WAIT_SECS: u64 = 50;
/// Wait of a long-poll that names none.
pub const DEFAULT_WAIT_SECS: u64 = 30;
/// Largest request body the hub reads, in bytes: a batch of reports is the largest there is.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Largest reply a client of the hub reads, in bytes: [`MAX_PEERS_PER_REPLY`] peers with many prefixes.
pub const MAX_REPLY_BYTES: usize = 16 << 20;
/// Most peers in one reply to a gateway; the rest follow in the next one.
pub const MAX_PEERS_PER_REPLY: usize = 2000;
/// Most peers in one gateway report, and most reports in one batch of an agent: a write transaction at the hub stays short.
pub const MAX_REPORTS: usize = 500;
/// Longest name for people, in characters.
pub const MAX_NAME: usize = 64;
/// The header that makes a POST safe to repeat: a text of at most [`MAX_IDEMPOTENCY_KEY`] characters.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest idempotency key, in characters.
pub const MAX_IDEMPOTENCY_KEY: usize = 64;
