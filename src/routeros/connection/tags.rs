//! Tags: which outstanding command a reply belongs to.
//!
//! A tag is a place in a small table and how often that place was used before, so that finding it is an
//! index and a late reply to a command that has ended can never reach the next one in its place.

use std::fmt;

/// Places in the table: [`super::MAX_OUTSTANDING`] commands and a `/cancel` for each.
const PLACE_BITS: u32 = 10;
const PLACES: usize = 1 << PLACE_BITS;

/// Digits in the longest tag that is read. One with more was never given out: that would take longer than the
/// router will live.
const MAX_DIGITS: usize = 19;

/// The tag of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(u64);

impl Tag {
    /// Reads the value of `.tag`: a decimal number without sign or leading zero, as we write them.
    #[inline]
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || (bytes[0] == b'0' && bytes.len() > 1) || bytes.len() > MAX_DIGITS {
            return None;
        }
        let mut value = 0_u64;
        for &byte in bytes {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + u64::from(digit);
        }
        Some(Self(value))
    }

    /// Writes the tag as decimal digits into `room` and returns them.
    pub(super) fn digits(self, room: &mut [u8]) -> &[u8] {
        let mut rest = self.0;
        let mut at = room.len();
        while at > 0 {
            at -= 1;
            room[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        &room[at..]
    }

    fn place(self) -> usize {
        usize::try_from(self.0 % PLACES as u64).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a tag stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// A command that has not ended.
    Outstanding(T),
    /// A command that had ended before.
    Ended,
    /// Nothing: this tag was never given out.
    NeverGiven,
}

/// The table of outstanding commands.
#[derive(Debug)]
pub(super) struct Tags<T> {
    places: Vec<Place<T>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Place<T> {
    /// The tag of the command here, or the next that will be given.
    tag: u64,
    occupant: Option<T>,
}

impl<T> Tags<T> {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    /// How many commands are outstanding.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Gives out a tag; gives the occupant back if the table is full.
    pub(super) fn give(&mut self, occupant: T) -> Result<Tag, T> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() < PLACES => {
                let index = self.places.len();
                self.places.push(Place { tag: index as u64, occupant: None });
                index
            }
            None => return Err(occupant),
        };
        let place = &mut self.places[index];
        place.occupant = Some(occupant);
        Ok(Tag(place.tag))
    }

    /// Looks a tag up.
    #[inline]
    pub(super) fn find(&mut self, tag: Tag) -> Found<&mut T> {
        let Some(place) = self.places.get_mut(tag.place()) else {
            return Found::NeverGiven;
        };
        match (&mut place.occupant, tag.0.cmp(&place.tag)) {
            (Some(occupant), std::cmp::Ordering::Equal) => Found::Outstanding(occupant),
            (_, std::cmp::Ordering::Less) => Found::Ended,
            _ => Found::NeverGiven,
        }
    }

    /// Takes a command out: its `!done` has come. Its tag is not given out again.
    pub(super) fn end(&mut self, tag: Tag) -> Option<T> {
        let place = self.places.get_mut(tag.place())?;
        if place.tag != tag.0 {
            return None;
        }
        let occupant = place.occupant.take()?;
        place.tag += PLACES as u64;
        self.free.push(tag.place());
        Some(occupant)
    }

    /// Goes through all outstanding commands.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Tag, &mut T)> {
        self.places.iter_mut().filter_map(|place| {
            let tag = Tag(place.tag);
            place.occupant.as_mut().map(|occupant| (tag, occupant))
        })
    }

    /// Takes all commands out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.free.clear();
        self.places.drain(..).filter_map(|place| place.occupant)
    }
}
