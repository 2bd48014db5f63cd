//! Reads a block stream, and refuses what is cut, damaged or out of order.

use std::io::{self, Read};

use super::{END, Extent, Header, Holds, LONGEST, LONGEST_HEADER, MAGIC, Totals, VERSION, hash_of};

/// Why a stream was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be read.
    #[error("read the block stream: {0}")]
    Io(#[from] io::Error),
    /// It ends before its end record.
    #[error("the block stream is cut, in {0}")]
    Cut(String),
    /// It begins as something else.
    #[error("it is no block stream: it does not begin as one")]
    NoStream,
    /// A later program made it.
    #[error("the block stream has version {0}, and this program reads version {VERSION}")]
    Version(u32),
    /// A checksum does not fit, or what is said cannot be.
    #[error("the block stream is damaged, in {at}: {what}")]
    Damaged {
        /// The header, a record or the end.
        at: String,
        /// What is wrong with it.
        what: String,
    },
}

/// A stream that is being read.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    header: Header,
    all: blake3::Hasher,
    totals: Totals,
    at: u64,
    data: Vec<u8>,
}

/// One thing after another.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A piece of the device, with its bytes if it has some. They are proven.
    Piece(Extent, &'a [u8]),
    /// There is no more, and all of it is proven.
    End(Totals),
}

fn damaged(at: &str, what: impl Into<String>) -> ReadError {
    ReadError::Damaged {
        at: at.to_owned(),
        what: what.into(),
    }
}

fn read(from: &mut impl Read, into: &mut [u8], at: &str) -> Result<(), ReadError> {
    from.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::Cut(at.to_owned()),
        _ => ReadError::Io(error),
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

impl<R: Read> Reader<R> {
    /// Reads the header, which is proven by its own checksum.
    pub fn new(mut from: R) -> Result<Reader<R>, ReadError> {
        const AT: &str = "the header";
        let mut head = vec![0; 16];
        read(&mut from, &mut head, AT)?;
        if !head.starts_with(MAGIC) {
            return Err(ReadError::NoStream);
        }
        let (version, long) = (number(&head[8..12]) as u32, number(&head[12..16]) as usize);
        if version != VERSION {
            return Err(ReadError::Version(version));
        }
        if long > LONGEST_HEADER {
            return Err(damaged(AT, format!("it has {long} bytes")));
        }
        head.resize(16 + long, 0);
        read(&mut from, &mut head[16..], AT)?;
        let mut hash = [0; 32];
        read(&mut from, &mut hash, AT)?;
        if blake3::hash(&head) != hash {
            return Err(damaged(AT, "its checksum does not fit"));
        }
        let header =
            serde_json::from_slice(&head[16..]).map_err(|error| damaged(AT, error.to_string()))?;
        let mut all = blake3::Hasher::new();
        all.update(&head).update(&hash);
        Ok(Reader {
            from,
            header,
            all,
            totals: Totals::default(),
            at: 0,
            data: Vec::new(),
        })
    }

    /// What it is of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next record. After the end there is none to be read.
    pub fn next_record(&mut self) -> Result<Record<'_>, ReadError> {
        let at = format!("record {}", self.totals.records);
        let mut kind = [0];
        read(&mut self.from, &mut kind, &at)?;
        let holds = match kind[0] {
            END => return self.end(),
            b'D' => Holds::Data,
            b'Z' => Holds::Zero,
            other => return Err(damaged(&at, format!("there is no kind {other}"))),
        };
        let mut head = [0; 17];
        head[0] = kind[0];
        read(&mut self.from, &mut head[1..], &at)?;
        let (offset, length) = (number(&head[1..9]), number(&head[9..]));
        let end = offset
            .checked_add(length)
            .filter(|end| *end <= self.header.device_size);
        let Some(end) = end.filter(|_| offset >= self.at && length > 0) else {
            return Err(damaged(&at, format!("it has {length} bytes at {offset}")));
        };
        let follows = match holds {
            Holds::Data if length > LONGEST as u64 => {
                return Err(damaged(&at, format!("it has {length} bytes of data")));
            }
            Holds::Data => length as usize,
            Holds::Zero => 0,
        };
        self.data.resize(follows, 0);
        read(&mut self.from, &mut self.data, &at)?;
        let mut hash = [0; 32];
        read(&mut self.from, &mut hash, &at)?;
        if hash_of(self.totals.records, &head, &self.data) != hash {
            return Err(damaged(&at, "its checksum does not fit"));
        }
        self.all.update(&head).update(&self.data).update(&hash);
        self.at = end;
        self.totals.records += 1;
        match holds {
            Holds::Data => self.totals.data += length,
            Holds::Zero => self.totals.zero += length,
        }
        let extent = Extent {
            offset,
            length,
            holds,
        };
        Ok(Record::Piece(extent, &self.data))
    }

    fn end(&mut self) -> Result<Record<'_>, ReadError> {
        const AT: &str = "the end";
        let mut end = [END; 25];
        read(&mut self.from, &mut end[1..], AT)?;
        let mut hash = [0; 32];
        read(&mut self.from, &mut hash, AT)?;
        let said = Totals {
            records: number(&end[1..9]),
            data: number(&end[9..17]),
            zero: number(&end[17..]),
        };
        if said != self.totals {
            return Err(damaged(
                AT,
                format!("it says {said:?}, and there were {:?}", self.totals),
            ));
        }
        if self.all.update(&end).finalize() != hash {
            return Err(damaged(AT, "the checksum of all does not fit"));
        }
        if self.from.read(&mut [0])? != 0 {
            return Err(damaged(AT, "something follows it"));
        }
        Ok(Record::End(self.totals))
    }
}
