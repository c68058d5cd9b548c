//! The capture: every event of a run in a file, in case the launcher is killed before the report.
//!
//! Job: write events as they are merged, and read them back. Invariant: a reader trusts no byte. The reader leaves out
//! everything from the first damaged byte on, and reports the damage; no length in a file causes an allocation larger
//! than the largest block. Neighbours: `launch::keep` owns the file, `commands::recover` reads the file, `event`
//! defines the contents.
//!
//! ```text
//! "rscapt03" | block | block | ...                 the first block: JSON from the caller, about the run
//! block: one or more pieces; each but the last is full (4 MiB)
//! piece: bytes unpacked u32 | packed u32 | FNV-1a of the LZ4 block u64 | LZ4 block     other blocks: events, postcard
//! ```
//! Numbers are little-endian. The two digits of the magic are raised whenever events are written differently.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::event::Event;

/// First bytes of a capture.
const MAGIC: &[u8; 8] = b"rscapt03";
/// The writer writes a block as soon as the block has this many bytes.
const BLOCK: usize = 256 * 1024;
/// Bytes of a full piece. A single event may make a block larger: a line table has up to 32 MiB, a command line 6 MiB.
const MOST: usize = 4 << 20;
/// Most pieces of a block.
const MOST_PIECES: usize = 16;
/// Longest time until a block is written: a kill loses at most the events of this time.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes before a piece.
const HEAD: usize = 16;

/// A capture during writing.
#[derive(Debug)]
pub struct Writer {
    file: File,
    block: Vec<u8>,
    /// A packed block with its head.
    packed: Vec<u8>,
    written: u64,
    limit: u64,
    flushed: Instant,
    ended: Option<String>,
}

impl Writer {
    /// Begins a capture of at most `limit` bytes in an empty file.
    ///
    /// # Errors
    /// Errors of the file, and of `origin` if it has no JSON form.
    pub fn begin(mut file: File, origin: &impl Serialize, limit: u64) -> io::Result<Self> {
        file.write_all(MAGIC)?;
        let block = serde_json::to_vec(origin)?;
        let written = MAGIC.len() as u64;
        let mut writer = Self { file, block, packed: Vec::new(), written, limit, flushed: Instant::now(), ended: None };
        writer.write()?;
        Ok(writer)
    }

    /// Adds an event; call [`Writer::flush_in_time`] whenever no other event waits.
    pub fn push(&mut self, event: &Event) {
        if self.ended.is_some() {
            return;
        }
        let before = self.block.len();
        match postcard::to_io(event, &mut self.block).map(drop) {
            Ok(()) if self.block.len() >= MOST * MOST_PIECES => {
                self.block.truncate(before);
                self.ended = Some("an event is too large".to_owned());
            }
            Ok(()) => {}
            Err(error) => {
                self.block.truncate(before);
                self.ended = Some(error.to_string());
            }
        }
        if self.block.len() >= BLOCK {
            self.flush();
        }
    }

    /// Writes the events so far, if the last write was a second ago or more.
    pub fn flush_in_time(&mut self) {
        if self.flushed.elapsed() >= PATIENCE {
            self.flush();
        }
    }

    /// Writes the events so far.
    pub fn flush(&mut self) {
        if self.ended.is_none()
            && let Err(error) = self.write()
        {
            self.ended = Some(error.to_string());
        }
    }

    /// The reason why the writer adds no more events; `None` while the writer works.
    #[must_use]
    pub fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    fn write(&mut self) -> io::Result<()> {
        self.flushed = Instant::now();
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        let mut rest = block.as_slice();
        loop {
            let (piece, behind) = rest.split_at(rest.len().min(MOST));
            self.write_piece(piece)?;
            // A full piece is never the last.
            if piece.len() < MOST {
                break;
            }
            rest = behind;
        }
        self.block = block;
        self.block.clear();
        Ok(())
    }

    fn write_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        let most = lz4_flex::block::get_maximum_output_size(piece.len());
        self.packed.resize(HEAD + most, 0);
        let (head, body) = self.packed.split_at_mut(HEAD);
        let size = lz4_flex::block::compress_into(piece, body).map_err(io::Error::other)?;
        let bytes = HEAD + size;
        if self.written + bytes as u64 > self.limit {
            return Err(io::Error::other(format!("it reached {}", crate::units::bytes(self.limit))));
        }
        let (sizes, sum) = head.split_at_mut(8);
        let (unpacked, packed) = sizes.split_at_mut(4);
        unpacked.copy_from_slice(&(piece.len() as u32).to_le_bytes());
        packed.copy_from_slice(&(size as u32).to_le_bytes());
        sum.copy_from_slice(&checksum(&body[..size]).to_le_bytes());
        self.file.write_all(&self.packed[..bytes])?;
        self.written += bytes as u64;
        Ok(())
    }
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The reason why a capture could not be read, or not to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file does not begin with `rscapt`.
    Foreign,
    /// A build with another format of captures wrote the file.
    OtherVersion,
    /// The file ends within its head or a block.
    CutOff,
    /// Bytes of the file changed since they were written.
    Corrupt,
    /// The file could not be read.
    Unreadable(io::ErrorKind),
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::CutOff } else { Self::Unreadable(error.kind()) }
    }
}

/// A capture during reading.
#[derive(Debug)]
pub struct Reader<R> {
    from: BufReader<R>,
    packed: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the magic and the first block, `origin`.
    ///
    /// # Errors
    /// The file is no capture, or from a build with another format, or its beginning is damaged.
    pub fn open<O: DeserializeOwned>(from: R) -> Result<(Self, O), Damage> {
        let mut reader = Self { from: BufReader::new(from), packed: Vec::new() };
        let mut magic = [0; MAGIC.len()];
        reader.from.read_exact(&mut magic).map_err(|error| match Damage::from(error) {
            Damage::CutOff => Damage::Foreign,
            other => other,
        })?;
        if &magic != MAGIC {
            return Err(if magic.starts_with(b"rscapt") { Damage::OtherVersion } else { Damage::Foreign });
        }
        let block = reader.block()?.ok_or(Damage::CutOff)?;
        let origin = serde_json::from_slice(&block).map_err(|_| Damage::Corrupt)?;
        Ok((reader, origin))
    }

    /// Passes all events up to the first damage to `out`. Returns the damage; `None` for a whole file.
    pub fn events(mut self, out: &mut impl FnMut(Event)) -> Option<Damage> {
        loop {
            let block = match self.block() {
                Ok(Some(block)) => block,
                Ok(None) => return None,
                Err(damage) => return Some(damage),
            };
            let mut rest = block.as_slice();
            while !rest.is_empty() {
                match postcard::take_from_bytes(rest) {
                    Ok((event, behind)) => {
                        out(event);
                        rest = behind;
                    }
                    Err(_) => return Some(Damage::Corrupt),
                }
            }
        }
    }

    /// The next block; `None` at the end of the file.
    fn block(&mut self) -> Result<Option<Vec<u8>>, Damage> {
        let Some(mut block) = self.piece()? else { return Ok(None) };
        let mut last = block.len();
        while last == MOST {
            if block.len() >= MOST * MOST_PIECES {
                return Err(Damage::Corrupt);
            }
            let piece = self.piece()?.ok_or(Damage::CutOff)?;
            last = piece.len();
            block.extend(piece);
        }
        Ok(Some(block))
    }

    /// The next piece; `None` at the end of the file.
    fn piece(&mut self) -> Result<Option<Vec<u8>>, Damage> {
        let mut head = Vec::with_capacity(HEAD);
        self.from.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        if head.is_empty() {
            return Ok(None);
        }
        let head: [u8; HEAD] = head.try_into().map_err(|_| Damage::CutOff)?;
        let number = |at: usize| head.iter().skip(at).take(4).rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (bytes, packed) = (number(0), number(4));
        if bytes > MOST || packed > lz4_flex::block::get_maximum_output_size(MOST) {
            return Err(Damage::Corrupt);
        }
        self.packed.resize(packed, 0);
        self.from.read_exact(&mut self.packed)?;
        if checksum(&self.packed).to_le_bytes() != head[8..] {
            return Err(Damage::Corrupt);
        }
        let block = lz4_flex::block::decompress(&self.packed, bytes).map_err(|_| Damage::Corrupt)?;
        if block.len() == bytes { Ok(Some(block)) } else { Err(Damage::Corrupt) }
    }
}
