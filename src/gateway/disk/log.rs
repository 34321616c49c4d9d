//! A file of records that only grows, one a line with its checksum, and is written anew when it has grown too much.
//!
//! A crash may leave the last line unfinished: it is dropped, as nobody was told that it was written. A line that does not fit its
//! checksum with good lines after it is damage, and an error.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::DiskError;
use super::files::{beside, create, put_in_place};

/// The version of all logs that are written.
const VERSION: u32 = 1;
/// Largest log that is read, in bytes: many times what the most peers need.
const MAX_BYTES: u64 = 1 << 30;
/// Digits of a line's checksum.
const CHECKSUM: usize = 16;
/// A log is written anew when it is twice what it was, and this much larger, in bytes: small ones are not worth it.
const SLACK: u64 = 1 << 20;

/// Whether an append must survive the machine's crash, or the process's only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// It is on the disk when the call returns.
    Now,
    /// It is in the system's hands.
    Later,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
}

/// A log of records of one type.
#[derive(Debug)]
pub struct Log<R> {
    path: PathBuf,
    format: &'static str,
    file: File,
    /// Up to here everything is whole.
    length: u64,
    /// What it was when it was last written anew.
    compact_length: u64,
    _records: PhantomData<fn() -> R>,
}

impl<R: Serialize + DeserializeOwned> Log<R> {
    /// Opens a log, or makes an empty one; returns its records, oldest first, and whether it was there.
    ///
    /// # Errors
    /// [`DiskError::Corrupt`], [`DiskError::Newer`], [`DiskError::Io`].
    pub fn open(path: &Path, format: &'static str) -> Result<(Self, Vec<R>), DiskError> {
        let (records, file, length) = if let Some(bytes) = read(path)? {
            let (records, length) = parse(path, format, &bytes)?;
            let file = OpenOptions::new().write(true).open(path).map_err(DiskError::io("open", path))?;
            file.set_len(length).map_err(DiskError::io("mend", path))?;
            (records, file, length)
        } else {
            let (file, length) = write(path, format, std::iter::empty::<R>())?;
            (Vec::new(), file, length)
        };
        let path = path.to_owned();
        Ok((Self { path, format, file, length, compact_length: length, _records: PhantomData }, records))
    }

    /// Adds records, all or none.
    ///
    /// # Errors
    /// [`DiskError::Io`]; the log is then what it was before.
    pub fn append<'a>(&mut self, records: impl IntoIterator<Item = &'a R>, flush: Flush) -> Result<(), DiskError>
    where
        R: 'a,
    {
        let mut lines = Vec::new();
        for record in records {
            push_line(&mut lines, record).map_err(DiskError::io("write", &self.path))?;
        }
        let written = self.write_at_end(&lines, flush);
        match written {
            Ok(()) => self.length += u64::try_from(lines.len()).unwrap_or(u64::MAX),
            // What was half written would be damage in the middle after the next append.
            Err(_) => self.file.set_len(self.length).map_err(DiskError::io("mend", &self.path))?,
        }
        written.map_err(DiskError::io("write", &self.path))
    }

    fn write_at_end(&mut self, lines: &[u8], flush: Flush) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(lines)?;
        if flush == Flush::Now { self.file.sync_data() } else { Ok(()) }
    }

    /// Whether it is time to write it anew.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.length > 2 * self.compact_length + SLACK
    }

    /// Replaces all records.
    ///
    /// # Errors
    /// [`DiskError::Io`]; the log is then what it was before.
    pub fn rewrite(&mut self, records: impl IntoIterator<Item = R>) -> Result<(), DiskError> {
        let (file, length) = write(&self.path, self.format, records.into_iter())?;
        self.file = file;
        self.length = length;
        self.compact_length = length;
        Ok(())
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(DiskError::io("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(DiskError::io("read", path))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(DiskError::corrupt(path, format!("it is larger than {MAX_BYTES} bytes")));
    }
    Ok(Some(bytes))
}

/// Reads all whole lines; returns the records and how far they reach.
fn parse<R: DeserializeOwned>(path: &Path, format: &str, bytes: &[u8]) -> Result<(Vec<R>, u64), DiskError> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let header = lines.next().unwrap_or_default();
    let json = whole(header).ok_or_else(|| DiskError::corrupt(path, "its first line is not whole"))?;
    let found: Header =
        serde_json::from_slice(json).map_err(|_| DiskError::corrupt(path, "its first line is no header"))?;
    if found.format != format {
        return Err(DiskError::corrupt(path, format!("it is not of the format {format}")));
    }
    if found.version > VERSION {
        return Err(DiskError::Newer { path: path.to_owned(), version: found.version, known: VERSION });
    }
    let (mut records, mut length, mut torn) = (Vec::new(), header.len(), None);
    for (index, line) in lines.enumerate() {
        let number = index + 2;
        let Some(json) = whole(line) else {
            torn.get_or_insert(number);
            continue;
        };
        if let Some(torn) = torn {
            return Err(DiskError::corrupt(path, format!("line {torn} does not fit its checksum")));
        }
        let record = serde_json::from_slice(json);
        records.push(record.map_err(|error| DiskError::corrupt(path, format!("line {number}: {}", category(&error))))?);
        length += line.len();
    }
    if torn.is_some() {
        tracing::warn!(file = %path.display(), "the last change was not written to the end, it is left out");
    }
    Ok((records, u64::try_from(length).unwrap_or(u64::MAX)))
}

/// What is wrong with JSON, without what stands there: it may be a secret.
fn category(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Data => "it is no record of this format",
        _ => "it is no JSON",
    }
}

/// The JSON of a line that is whole.
fn whole(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = (line.get(..CHECKSUM)?, line.get(CHECKSUM + 1..)?);
    (line.get(CHECKSUM) == Some(&b' ') && sum == checksum(json)).then_some(json)
}

/// The first digits of the SHA-256: it is at hand, and finds what a bad disk does.
fn checksum(json: &[u8]) -> [u8; CHECKSUM] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = ring::digest::digest(&ring::digest::SHA256, json);
    let nibbles = digest.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut sum = [0; CHECKSUM];
    sum.iter_mut().zip(nibbles).for_each(|(to, nibble)| *to = DIGITS[usize::from(nibble)]);
    sum
}

fn push_line(lines: &mut Vec<u8>, record: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(record)?;
    lines.extend_from_slice(&checksum(&json));
    lines.push(b' ');
    lines.extend_from_slice(&json);
    lines.push(b'\n');
    Ok(())
}

/// Writes a whole log beside and puts it in its place.
fn write<R: Serialize>(path: &Path, format: &str, records: impl Iterator<Item = R>) -> Result<(File, u64), DiskError> {
    let beside = beside(path);
    let file = create(&beside)?;
    let mut writer = io::BufWriter::new(file);
    let mut length = 0;
    let mut put = |line: &[u8]| {
        length += u64::try_from(line.len()).unwrap_or(u64::MAX);
        writer.write_all(line)
    };
    let mut line = Vec::new();
    push_line(&mut line, &Header { format: format.to_owned(), version: VERSION })
        .and_then(|()| put(&line))
        .map_err(DiskError::io("write", &beside))?;
    for record in records {
        line.clear();
        push_line(&mut line, &record).and_then(|()| put(&line)).map_err(DiskError::io("write", &beside))?;
    }
    let file = writer.into_inner().map_err(|error| DiskError::io("write", &beside)(error.into_error()))?;
    file.sync_all().map_err(DiskError::io("write", &beside))?;
    put_in_place(&beside, path)?;
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Log<Vec<u32>>;

    #[test]
    fn a_log_cut_anywhere_after_its_header_holds_the_records_before_the_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut log, none) = Numbers::open(&path, "numbers").unwrap();
        assert_eq!(none, Vec::<Vec<u32>>::new());
        let records: Vec<Vec<u32>> = (0..5).map(|n| vec![n; 3]).collect();
        let mut ends = vec![log.length];
        for record in &records {
            log.append([record], Flush::Now).unwrap();
            ends.push(log.length);
        }
        let bytes = std::fs::read(&path).unwrap();
        for cut in usize::try_from(ends[0]).unwrap()..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let (mut log, found) = Numbers::open(&path, "numbers").unwrap();
            let whole = ends.iter().filter(|end| **end <= u64::try_from(cut).unwrap()).count() - 1;
            assert_eq!(found, records[..whole], "cut at {cut}");
            log.append([&vec![9]], Flush::Later).unwrap();
            let (_, found) = Numbers::open(&path, "numbers").unwrap();
            assert_eq!((found.len(), found.last()), (whole + 1, Some(&vec![9])), "cut at {cut}");
        }
    }

    #[test]
    fn a_byte_that_changed_in_the_middle_is_damage_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut log, _) = Numbers::open(&path, "numbers").unwrap();
        log.rewrite([vec![1], vec![2], vec![3]]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let last_line = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
        for index in 0..last_line {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            let error = Numbers::open(&path, "numbers").unwrap_err();
            assert!(
                matches!(&error, DiskError::Corrupt { path: named, .. } if *named == path),
                "byte {index}: {error}"
            );
        }
        std::fs::write(&path, b"").unwrap();
        Numbers::open(&path, "numbers").unwrap_err();
    }

    #[test]
    fn a_log_of_a_later_version_or_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut line = Vec::new();
        push_line(&mut line, &Header { format: "numbers".into(), version: 2 }).unwrap();
        std::fs::write(&path, &line).unwrap();
        assert!(matches!(Numbers::open(&path, "numbers"), Err(DiskError::Newer { version: 2, .. })));
        let error = Numbers::open(&path, "letters").unwrap_err();
        assert!(error.to_string().contains("not of the format letters"), "{error}");
    }

    #[test]
    fn a_log_of_version_1_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let text = concat!("c8282c90020c4000 {\"format\":\"numbers\",\"version\":1}\n", "49a64717d5d4cb19 [1,2]\n",);
        std::fs::write(&path, text).unwrap();
        let read = Numbers::open(&path, "numbers").map(|(_, records)| records);
        let expected =
            format!("{}\n{}\n", line_of(&Header { format: "numbers".into(), version: 1 }), line_of(&vec![1_u32, 2]));
        assert_eq!(text, expected, "the lines as they are written today");
        assert_eq!(read.unwrap(), [vec![1, 2]]);
    }

    fn line_of(record: &impl Serialize) -> String {
        let mut line = Vec::new();
        push_line(&mut line, record).unwrap();
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }
}
