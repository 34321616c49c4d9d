//! What can be made to go wrong, by name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A fault of the device, its link or its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends after the n-th sentence was executed, without its answer. Once.
    CloseAfter(u64),
    /// The connection ends when the n-th sentence arrived, before it is executed. Once.
    CloseBefore(u64),
    /// The link carries so many bytes per second, each way.
    Slow(u64),
    /// Every byte travels in a segment of its own.
    OneByteSegments,
    /// Connections are taken and never answered.
    NoAnswer,
    /// Every login is refused as wrong.
    RefuseLogin,
    /// Logins are refused as "access denied", which some clients expect for users without the policy `api`.
    NoApiPolicy,
    /// The session table is full.
    SessionLimit,
    /// So many foreign rows are added to `/ip/firewall/address-list`.
    ForeignRows(usize),
    /// A foreign rule's comment is not UTF-8.
    NonUtf8Comment,
    /// The n-th sentence is answered with a length header of 4 GiB.
    HugeLength(u64),
    /// The n-th sentence is answered with bytes that are no sentence.
    Garbage(u64),
    /// The n-th writing command is refused.
    TrapOnWrite(u64),
    /// The device reboots right after the n-th writing command, without an answer.
    RebootOnWrite(u64),
    /// The clock is wrong by so many seconds.
    ClockJump(ClockJump),
    /// `.tag` is the last word of each reply, not the second.
    TagLast,
    /// Setting a WireGuard peer's allowed addresses drops its session.
    DropSessionOnSet,
    /// A row that ends by a timeout cannot be removed before.
    TimedRowsStay,
    /// Nothing can be put into the scheduler: device-mode forbids it.
    SchedulerRefused,
    /// What is put into the scheduler never runs: device-mode forbids it.
    SchedulerInactive,
    /// After a reboot an entry of the scheduler runs when it would have without.
    TimerKeepsCount,
    /// After a reboot the clock is behind the entries' start dates: only what runs at the start does.
    TimerWaitsForDate,
    /// Scripts and the scheduler are closed to every user.
    ScriptsClosed,
    /// Making a script or an entry of the scheduler needs the policy `policy`.
    ScriptsNeedPolicy,
    /// Nobody may take safe mode.
    SafeModeRefused,
    /// Taking safe mode is answered, and it is not taken.
    SafeModeNotTaken,
    /// It is not shown who holds safe mode.
    SafeModeAnonymous,
    /// The end of a session that holds safe mode is noticed so many seconds late.
    SafeModeLate(u64),
    /// So many actions can be undone.
    SafeModeHistory(u64),
    /// A reboot keeps what was changed in safe mode.
    SafeModeKeptByReboot,
    /// So much delay in each direction.
    Latency(Duration),
    /// No UDP of WireGuard gets out or in; pings outside the tunnel still do.
    NoUdp,
    /// Nothing gets out: no UDP, no ping, not even to the gateway.
    NoWan,
    /// Hosts outside, but for the gateway, answer no pings.
    NoIcmp,
    /// What is on the way forgets nothing of the UDP ports that are open now, and lets nothing of them through: a NAT that is stuck.
    StuckPort,
    /// WireGuard's sessions are stuck until a peer is switched off.
    StuckPeer,
    /// A peer's endpoint name that is set again as it was is not looked up anew.
    NameSticks,
    /// `/log` is closed to every user.
    LogClosed,
    /// The log is written in a way that nobody knows.
    LogAlien,
    /// Times in the log have their whole date, whichever day it is.
    LogFullTimes,
    /// So many lines of firewall rules are in the log, beside the usual room.
    LogRows(usize),
    /// UDP of WireGuard longer than so many bytes vanishes, both ways.
    DropAbove(u64),
    /// An address cannot be led to another interface.
    AddressStays,
    /// A site cannot have a second WireGuard interface.
    OneWireguard,
    /// A site's WireGuard interfaces but the first get no packet out or in.
    LaterTunnelsSilent,
    /// The same, from the moment an address is on them.
    LaterTunnelsDie,
}

/// Where the clock goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockJump {
    /// To 1970, as without a battery.
    Epoch,
    /// By so many seconds, back if negative.
    By(i64),
}

/// The names that `--fault` takes, with what stands behind `=`.
pub const FAULT_NAMES: [&str; 46] = [
    "close-after=N",
    "close-before=N",
    "slow=BYTES_PER_SEC",
    "one-byte-segments",
    "no-answer",
    "refuse-login",
    "no-api-policy",
    "session-limit",
    "foreign-rows[=N]",
    "non-utf8-comment",
    "huge-length[=N]",
    "garbage[=N]",
    "trap-on-write=K",
    "reboot-on-write=K",
    "clock-jump=SECS|epoch",
    "tag-last",
    "drop-session-on-set",
    "timed-rows-stay",
    "scheduler-refused",
    "scheduler-inactive",
    "timer-keeps-count",
    "timer-waits-for-date",
    "scripts-closed",
    "scripts-need-policy",
    "safe-mode-refused",
    "safe-mode-not-taken",
    "safe-mode-anonymous",
    "safe-mode-late=SECS",
    "safe-mode-history=N",
    "safe-mode-kept-by-reboot",
    "latency=MS",
    "no-udp",
    "no-wan",
    "no-icmp",
    "stuck-port",
    "stuck-peer",
    "name-sticks",
    "log-closed",
    "log-alien",
    "log-full-times",
    "log-rows=N",
    "drop-above=BYTES",
    "address-stays",
    "one-wireguard",
    "later-tunnels-silent",
    "later-tunnels-die",
];

/// How many rows `foreign-rows` adds when it is not told.
const FOREIGN_ROWS: usize = 10_000;

/// A text is not a fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFault {
    /// The names were asked for.
    #[error("the faults are {list}", list = FAULT_NAMES.join(", "))]
    List,
    /// No fault has this name.
    #[error("no fault is called {0:?}; the faults are {list}", list = FAULT_NAMES.join(", "))]
    Unknown(String),
    /// The fault needs a number.
    #[error("fault {name:?} needs a number behind =, not {value:?}")]
    Argument {
        /// The fault's name.
        name: String,
        /// What stood there.
        value: String,
    },
}

impl FromStr for Fault {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let number = || positive(name, value);
        let number_or = |fallback: u64| if value.is_empty() { Ok(fallback) } else { positive(name, value) };
        Ok(match name {
            "close-after" => Self::CloseAfter(number()?),
            "close-before" => Self::CloseBefore(number()?),
            "slow" => Self::Slow(number()?),
            "one-byte-segments" => Self::OneByteSegments,
            "no-answer" => Self::NoAnswer,
            "refuse-login" => Self::RefuseLogin,
            "no-api-policy" => Self::NoApiPolicy,
            "session-limit" => Self::SessionLimit,
            "foreign-rows" if value.is_empty() => Self::ForeignRows(FOREIGN_ROWS),
            "foreign-rows" => Self::ForeignRows(usize::try_from(number()?).unwrap_or(usize::MAX)),
            "non-utf8-comment" => Self::NonUtf8Comment,
            "huge-length" => Self::HugeLength(number_or(1)?),
            "garbage" => Self::Garbage(number_or(1)?),
            "trap-on-write" => Self::TrapOnWrite(number()?),
            "reboot-on-write" => Self::RebootOnWrite(number()?),
            "clock-jump" if value == "epoch" => Self::ClockJump(ClockJump::Epoch),
            "clock-jump" => Self::ClockJump(ClockJump::By(value.parse().map_err(|_| bad_argument(name, value))?)),
            "tag-last" => Self::TagLast,
            "drop-session-on-set" => Self::DropSessionOnSet,
            "timed-rows-stay" => Self::TimedRowsStay,
            "scheduler-refused" => Self::SchedulerRefused,
            "scheduler-inactive" => Self::SchedulerInactive,
            "timer-keeps-count" => Self::TimerKeepsCount,
            "timer-waits-for-date" => Self::TimerWaitsForDate,
            "scripts-closed" => Self::ScriptsClosed,
            "scripts-need-policy" => Self::ScriptsNeedPolicy,
            "safe-mode-refused" => Self::SafeModeRefused,
            "safe-mode-not-taken" => Self::SafeModeNotTaken,
            "safe-mode-anonymous" => Self::SafeModeAnonymous,
            "safe-mode-late" => Self::SafeModeLate(number()?),
            "safe-mode-history" => Self::SafeModeHistory(number()?),
            "safe-mode-kept-by-reboot" => Self::SafeModeKeptByReboot,
            "latency" => Self::Latency(Duration::from_millis(number()?)),
            "no-udp" => Self::NoUdp,
            "no-wan" => Self::NoWan,
            "no-icmp" => Self::NoIcmp,
            "stuck-port" => Self::StuckPort,
            "stuck-peer" => Self::StuckPeer,
            "name-sticks" => Self::NameSticks,
            "log-closed" => Self::LogClosed,
            "log-alien" => Self::LogAlien,
            "log-full-times" => Self::LogFullTimes,
            "log-rows" => Self::LogRows(usize::try_from(number()?).unwrap_or(usize::MAX)),
            "drop-above" => Self::DropAbove(number()?),
            "address-stays" => Self::AddressStays,
            "one-wireguard" => Self::OneWireguard,
            "later-tunnels-silent" => Self::LaterTunnelsSilent,
            "later-tunnels-die" => Self::LaterTunnelsDie,
            "list" => return Err(InvalidFault::List),
            _ => return Err(InvalidFault::Unknown(name.to_owned())),
        })
    }
}

fn positive(name: &str, value: &str) -> Result<u64, InvalidFault> {
    value.parse().ok().filter(|n| *n > 0).ok_or_else(|| bad_argument(name, value))
}

fn bad_argument(name: &str, value: &str) -> InvalidFault {
    InvalidFault::Argument { name: name.to_owned(), value: value.to_owned() }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CloseAfter(n) => write!(f, "close-after={n}"),
            Self::CloseBefore(n) => write!(f, "close-before={n}"),
            Self::Slow(n) => write!(f, "slow={n}"),
            Self::OneByteSegments => f.write_str("one-byte-segments"),
            Self::NoAnswer => f.write_str("no-answer"),
            Self::RefuseLogin => f.write_str("refuse-login"),
            Self::NoApiPolicy => f.write_str("no-api-policy"),
            Self::SessionLimit => f.write_str("session-limit"),
            Self::ForeignRows(n) => write!(f, "foreign-rows={n}"),
            Self::NonUtf8Comment => f.write_str("non-utf8-comment"),
            Self::HugeLength(n) => write!(f, "huge-length={n}"),
            Self::Garbage(n) => write!(f, "garbage={n}"),
            Self::TrapOnWrite(n) => write!(f, "trap-on-write={n}"),
            Self::RebootOnWrite(n) => write!(f, "reboot-on-write={n}"),
            Self::ClockJump(ClockJump::Epoch) => f.write_str("clock-jump=epoch"),
            Self::ClockJump(ClockJump::By(n)) => write!(f, "clock-jump={n}"),
            Self::TagLast => f.write_str("tag-last"),
            Self::DropSessionOnSet => f.write_str("drop-session-on-set"),
            Self::TimedRowsStay => f.write_str("timed-rows-stay"),
            Self::SchedulerRefused => f.write_str("scheduler-refused"),
            Self::SchedulerInactive => f.write_str("scheduler-inactive"),
            Self::TimerKeepsCount => f.write_str("timer-keeps-count"),
            Self::TimerWaitsForDate => f.write_str("timer-waits-for-date"),
            Self::ScriptsClosed => f.write_str("scripts-closed"),
            Self::ScriptsNeedPolicy => f.write_str("scripts-need-policy"),
            Self::SafeModeRefused => f.write_str("safe-mode-refused"),
            Self::SafeModeNotTaken => f.write_str("safe-mode-not-taken"),
            Self::SafeModeAnonymous => f.write_str("safe-mode-anonymous"),
            Self::SafeModeLate(n) => write!(f, "safe-mode-late={n}"),
            Self::SafeModeHistory(n) => write!(f, "safe-mode-history={n}"),
            Self::SafeModeKeptByReboot => f.write_str("safe-mode-kept-by-reboot"),
            Self::Latency(d) => write!(f, "latency={}", d.as_millis()),
            Self::NoUdp => f.write_str("no-udp"),
            Self::NoWan => f.write_str("no-wan"),
            Self::NoIcmp => f.write_str("no-icmp"),
            Self::StuckPort => f.write_str("stuck-port"),
            Self::StuckPeer => f.write_str("stuck-peer"),
            Self::NameSticks => f.write_str("name-sticks"),
            Self::LogClosed => f.write_str("log-closed"),
            Self::LogAlien => f.write_str("log-alien"),
            Self::LogFullTimes => f.write_str("log-full-times"),
            Self::LogRows(n) => write!(f, "log-rows={n}"),
            Self::DropAbove(n) => write!(f, "drop-above={n}"),
            Self::AddressStays => f.write_str("address-stays"),
            Self::OneWireguard => f.write_str("one-wireguard"),
            Self::LaterTunnelsSilent => f.write_str("later-tunnels-silent"),
            Self::LaterTunnelsDie => f.write_str("later-tunnels-die"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_name_is_read_and_written_back() {
        for name in FAULT_NAMES {
            let text = name.split(['=', '[']).next().unwrap().to_owned();
            let text = if name.contains('=') { format!("{text}=7") } else { text };
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_unknown_fault_is_answered_with_the_names_of_all() {
        let error = "close-afte=1".parse::<Fault>().unwrap_err().to_string();
        assert!(FAULT_NAMES.iter().all(|name| error.contains(name)), "{error}");
        assert!("close-after".parse::<Fault>().is_err());
        assert!("slow=0".parse::<Fault>().is_err());
    }
}
