//! Faults that wait for their moment, with what has been counted so far.

use crate::sim::faults::Fault;

/// What happens to a sentence that has just arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Execute,
    CloseBefore,
    CloseAfter,
    HugeLength,
    Garbage,
}

/// What happens to a writing command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteFate {
    Execute,
    Trap,
    Reboot,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    fault: Fault,
    /// Sentences or writes seen since it was armed.
    seen: u64,
    fired: bool,
}

/// All faults of a device; those that strike once are spent afterwards.
#[derive(Debug, Default)]
pub(super) struct Armory(Vec<Armed>);

impl Armory {
    pub(super) fn arm(&mut self, fault: Fault) {
        self.0.push(Armed { fault, seen: 0, fired: false });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many faults that strike once have struck.
    pub(super) fn fired(&self) -> usize {
        self.0.iter().filter(|armed| armed.fired).count()
    }

    pub(super) fn has(&self, wanted: impl Fn(&Fault) -> bool) -> bool {
        self.0.iter().any(|armed| wanted(&armed.fault))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter().map(|armed| &armed.fault)
    }

    /// Counts a sentence and says what becomes of it.
    pub(super) fn sentence(&mut self) -> Fate {
        let struck = self.count(|fault| match fault {
            Fault::CloseAfter(n) => Some((n, Fate::CloseAfter)),
            Fault::CloseBefore(n) => Some((n, Fate::CloseBefore)),
            Fault::HugeLength(n) => Some((n, Fate::HugeLength)),
            Fault::Garbage(n) => Some((n, Fate::Garbage)),
            _ => None,
        });
        struck.unwrap_or(Fate::Execute)
    }

    /// Counts a writing command and says what becomes of it.
    pub(super) fn write(&mut self) -> WriteFate {
        let struck = self.count(|fault| match fault {
            Fault::TrapOnWrite(n) => Some((n, WriteFate::Trap)),
            Fault::RebootOnWrite(n) => Some((n, WriteFate::Reboot)),
            _ => None,
        });
        struck.unwrap_or(WriteFate::Execute)
    }

    /// Counts for the faults that wait for a number, and returns what the last one that strikes now does.
    fn count<F>(&mut self, waits_for: impl Fn(Fault) -> Option<(u64, F)>) -> Option<F> {
        let mut struck = None;
        for armed in self.0.iter_mut().filter(|armed| !armed.fired) {
            let Some((at, then)) = waits_for(armed.fault) else { continue };
            armed.seen += 1;
            if armed.seen == at {
                armed.fired = true;
                struck = Some(then);
            }
        }
        struck
    }
}
