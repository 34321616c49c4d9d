//! File descriptors: one for each connection. Systems give a process few at first, and more if it asks.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors for everything else: database, log, certificate, listeners.
const OTHERS: u64 = 64;

/// Asks for as many as the connections need; says so if there are fewer.
pub(super) fn ask_for(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft >= wanted {
        return;
    }
    let raised = wanted.min(hard);
    let has = setrlimit(Resource::RLIMIT_NOFILE, raised, hard).map_or(soft, |()| raised);
    if has < wanted {
        tracing::warn!(
            open_files = has,
            max_connections = connections,
            "fewer connections than max_connections: raise the limit of open files (LimitNOFILE, ulimit -n) or lower max_connections"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_connections_need_is_asked_for_and_never_less_than_there_was() {
        let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        ask_for(1);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, before);
        ask_for(usize::MAX);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    }
}
